//! The wallet program `moneta` as its users meet it: as a process, with real guardians and a real bitcoind.
//!
//! Each test is one world and tells a story in chapters; each chapter is a function named for what it
//! claims. Worlds are dear, so chapters share one.

#![allow(clippy::unwrap_used, missing_docs)]

mod alone;
mod crashes;
mod inputs;
mod life;
mod moneta;
mod outages;
mod town;
