//! The deterministic simulator: whole federations and wallets in one thread, from one seed.
//!
//! What is real: four guardian engines with the server halves of e-cash, on-chain wallet and meta,
//! and several wallets with the client driver and the client halves, each over a store that crashes on
//! demand. What is a double: consensus ([`order`], a shared log with close marks, replay and
//! signatures), the bitcoin network ([`chain`]), the links between wallets and guardians, the clock,
//! and chance. Nothing here reads a clock or draws randomness besides the seed, so a seed that fails
//! fails again.
//!
//! ```text
//! workload -> wallets -> lossy network -> guardians -> order -> engines -> answers, signatures
//!                 ^________________________________________________________/
//! ```
//!
//! What is checked all along: the same writes from the same ordered unit on every guardian, the same
//! outcome of every session, books that balance, and at the end that every millisatoshi is in a
//! wallet and every coin on the chain (`check.rs`).
//!
//! Start reading at [`world::run`].

pub mod chain;
mod check;
pub mod federation;
mod guardian;
pub mod order;
mod vice;
mod wallet;
mod workload;
pub mod world;
