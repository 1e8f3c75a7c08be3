//! The wallet as it runs: sockets, files and tasks around the pure parts.
//!
//! ```text
//! Wallet (folder, words)
//!   '-- Client per federation          handle of the program
//!         |-- driver task               polls the driver, makes its calls
//!         '-- refresh task              addresses, versions, config; after start, then hourly
//! ```
//!
//! Both tasks belong to the [`Client`] and end with it. If the driver task ends by itself, the
//! store failed: waiting callers learn that, and the wallet has to be opened again.

mod ask;
mod client;
mod clock;
mod drive;
mod enter;
mod folder;
mod guardians;
mod known;
mod open;
mod overlay;
mod refresh;
#[cfg(test)]
mod tests;
mod wallet;
mod web;

pub use ask::AskError;
pub use client::{Client, ClientInfo, Ended, FieldsError, WaitError};
pub use enter::{EnterError, preview, preview_watched};
pub use guardians::{Guardians, Transport, TransportFuture};
pub use open::OpenError;
pub use wallet::{Wallet, WalletError};
pub use web::{Https, Web, WebError, WebFuture};

use clock::now;
use drive::blocking;
