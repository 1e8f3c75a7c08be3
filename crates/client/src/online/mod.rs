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
mod enter;
mod folder;
mod guardians;
mod known;
mod refresh;
#[cfg(test)]
mod tests;
mod wallet;

pub use ask::AskError;
pub use client::{Client, ClientInfo, Ended, OpenError, WaitError};
pub use enter::{EnterError, preview};
pub use guardians::{Guardians, Transport, TransportFuture};
pub use wallet::{Wallet, WalletError};

use std::time::{SystemTime, UNIX_EPOCH};

use moneta_module::client::Timestamp;

/// The time of the system's clock. A clock before 1970 counts as 1970.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
