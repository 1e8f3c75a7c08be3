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
//! What happens: deposits, e-cash sent, received and taken back, withdrawals one behind another,
//! wishes for metadata, wallets that are lost and come back from their words; messages that are late,
//! lost or doubled, crashes and failing commits at any moment, disks that are lost or put back from an
//! old copy, reorganisations, one guardian of four that is silent, lies, forges or spams, and a user
//! who tries transactions that are worth nothing (`workload`, `world/misfortune.rs`, `vice.rs`).
//!
//! What is checked all along: the same writes from the same ordered unit on every guardian, the same
//! outcome of every session, books that balance, and that wallets hold no more than the federation
//! owes them (`check.rs`). At the end, in calm weather: everything that was open has come to its end,
//! deposits of lost wallets included; guardians agree on what they all wish for and hold the same rows;
//! every millisatoshi of notes that are out is in exactly one place; the coin on the chain is worth
//! what the books say, and every withdrawal was paid once or not at all (`workload/accounts.rs`).
//!
//! What that finds was tried by breaking things on purpose. Found within ten seeds: no guardian looks
//! whether a note is spent, or one of them forgets to now and then; one guardian loses a commit, or
//! does not count a note that it issues, guardians charge no fees. Not found within six: they keep no
//! shares for recovery.
//!
//! What is not checked: whether a fee is the right one, where guardians compute it wrongly alike and
//! still charge something. Consensus itself and the network are doubles.
//!
//! Nearly all the time is curve arithmetic. So most federations here issue few denominations
//! ([`federation::Notes`]), and a unit is decoded once for all guardians ([`order::Batch`]).
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
