//! Binaries and what they share: `monetad`, the wallet CLI `moneta` and the local world `moneta-dev`.
//!
//! The programs themselves are in `src/bin`; they read flags, wire the crates together and own the
//! task tree. Decisions about money are made in the crates, never here.
//!
//! Start reading at [`world`] for how everything runs together.

pub mod daemon;
pub mod wallet_cli;
pub mod world;
