//! The wallet library: operation driver, transaction builder, history, join and recovery.
//!
//! What it is: the host of module client halves (`moneta_module::client`). The [`driver::Driver`]
//! holds operations, machines and pending transactions in one store, says which calls it wants
//! made, and takes the answers. It opens no socket, reads no clock and draws no randomness of its
//! own, so a simulator drives the very code that a wallet runs. What it is not: it knows no kind of
//! money; everything about notes and coins is in the modules.
//!
//! Invariants:
//! * Everything a turn writes, starts and submits is durable in one commit before a call leaves.
//! * A transaction that was saved is submitted until its fate is known, across restarts.
//! * No answer of fewer than a threshold of guardians decides, and no slow one delays.
//!
//! Start reading at [`driver`], then [`query`] and [`builder`]. The feature `online` adds what
//! touches the world: the `online` module with sockets, files and tasks.
//!
//! Source: docs/protocol/core.md, sections 5.4, 7.6 and 9.

pub mod addresses;
pub mod builder;
pub mod driver;
pub mod history;
pub mod join;
pub mod meta;
#[cfg(feature = "online")]
pub mod online;
pub mod query;
pub mod versions;
pub mod words;
