//! E-cash: a threshold of guardians blindly signs notes of fixed denominations, whoever holds a
//! note spends it, and a wallet finds its notes again from its seed.
//!
//! This is kind `mintv2`. [`words`] are the values on the wire, `server` the rules of issuing and
//! spending, `setup` the part in the key ceremony, `client` what a wallet does: coin selection,
//! issuing change, sending and receiving e-cash strings, recovery.
//!
//! Invariants: a nonce is spent at most once; notes outstanding are counted per denomination, and
//! the counters are the module's whole liability; a wallet records a note before it lets go of
//! another one.
//!
//! Source: docs/protocol/mint.md.

pub mod words;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod setup;
#[cfg(all(test, feature = "server"))]
mod testing;

#[cfg(feature = "server")]
pub use setup::MintKind;
