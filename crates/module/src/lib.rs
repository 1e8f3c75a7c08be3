//! The whole plug-in contract: what a module is to the guardian that hosts its server half and to
//! the wallet that hosts its client half.
//!
//! A module is a kind of money or agreement: e-cash, on-chain bitcoin, agreed metadata. It has
//! two halves, each a plain value without clock, randomness, sockets or threads of its own:
//!
//! * The **server half** ([`server::ServerModule`]) is a function from state and one ordered
//!   value to writes. Where it needs data from outside (a block) it says so and is run again.
//! * The **client half** ([`client::ClientModule`]) is a set of small state machines. Each says
//!   what it waits for as data ([`client::Wait`]); the driver fetches that and calls
//!   [`client::ClientModule::advance`].
//!
//! Hosts see modules through [`erased`], the only file with type erasure. A newcomer starts with
//! `modules/meta`, the smallest complete module, and copies it.
//!
//! State. Each module instance has a key space of its own. Tables below `0x80` hold consensus
//! state and must be equal on all guardians after the same history; tables from
//! [`LOCAL_TABLES_FROM`] upward belong to this guardian alone (signature shares, own wishes).

pub mod cache;
pub mod client;
pub mod erased;
pub mod server;
pub mod setup;

/// Table prefixes from here on hold what belongs to one guardian alone and is not compared
/// between guardians.
pub const LOCAL_TABLES_FROM: u8 = 0x80;
