//! The load generator: measures how a federation behaves under payments, over the public wire alone.
//!
//! But for two parts that say so, it knows nothing of who made the guardians, so one run drives a federation of ours and one of
//! another implementation with the same transactions on the same machine. Its parts, from the pure
//! to the wired:
//!
//! * [`shape`], [`schedule`], [`latency`], [`edges`], [`report`], [`guardians`], [`plot`]: what to send, when, and
//!   how figures are kept and shown. No clock, no I/O.
//! * [`notes`] and [`purse`]: e-cash made and signed beforehand, so that guardians are measured and not
//!   this program.
//! * [`federation`] and [`drive`]: calls to all guardians as a wallet makes them; open and closed loop.
//! * [`link`]: a proxy that puts distance between guardians, and between them and wallets.
//! * [`cost`], [`watch`], [`origin`]: what processes use up, from `/proc`, every minute; which machine and build.
//! * [`subject`], [`modes`], [`long`], [`recovery`], [`sync`]: a federation to measure, and what is measured
//!   on it.
//!
//! Latency in the open loop counts from the moment a payment was *due*, not from when it could be
//! sent: a federation that stalls cannot hide the payments that would have come meanwhile
//! (coordinated omission).
//!
//! What a payment is here: a transaction that spends notes prepared earlier, sent to all guardians at
//! once, beside a long poll at each for the signature shares of its outputs. It is *accepted* when a
//! threshold of guardians says so, and *paid* when a threshold of share sets is here. Shares of one
//! payment per measurement are combined and verified; the others are counted only.

pub mod cost;
pub mod drive;
pub mod edges;
pub mod federation;
pub mod fund;
pub mod guardians;
pub mod latency;
pub mod link;
pub mod long;
pub mod modes;
pub mod notes;
pub mod origin;
pub mod plot;
pub mod purse;
pub mod recovery;
pub mod report;
pub mod schedule;
pub mod shape;
pub mod subject;
pub mod sync;
pub mod watch;
