//! On-chain bitcoin: deposits into the federation and withdrawals from it (kind `walletv2`).
//!
//! The guardians hold one coin together, a P2WSH multisig output. A deposit is any output on the
//! chain whose script passes a filter; guardians log all of those, and the owner of the key behind a
//! logged output claims it for e-cash. A claim or a withdrawal makes at once the one transaction
//! that moves the coin on, so transactions form a single chain and their ids are known before
//! anybody signs.
//!
//! What it is not: it knows no block source and broadcasts nothing. Blocks are given to the server
//! half, signed transactions are taken from it; the client half never talks to the bitcoin network.
//!
//! Invariants:
//! * All of the federation's money is in one output, whose value is the module's only asset.
//! * The log of outputs is the same on all guardians and never loses an entry, so clients find
//!   every deposit by reading it from the start.
//! * A deposit that a client has seen is claimed, or kept as uneconomical; never forgotten.
//!
//! Start with [`words`], then [`descriptor`] for scripts, then `server` and `client`.
//!
//! Source: docs/protocol/wallet.md, part 1.

pub mod descriptor;
pub mod words;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod setup;

#[cfg(feature = "server")]
pub use setup::WalletKind;
