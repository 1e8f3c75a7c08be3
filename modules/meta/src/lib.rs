//! Agreed key-value data: guardians vote on up to 256 opaque values, clients read what a threshold
//! agreed on. Key 0 holds the federation's metadata as a JSON object.
//!
//! The smallest complete module and the one to copy for a new one: `words` are the values on the
//! wire, `server` the rules of agreement, `setup` the part in the key ceremony, `client` what a
//! wallet does with it. It has no money: inputs and outputs do not exist, and its books are empty.
//!
//! Source: docs/protocol/guardian.md, section 6.

pub mod words;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod setup;

#[cfg(feature = "server")]
pub use setup::MetaKind;
