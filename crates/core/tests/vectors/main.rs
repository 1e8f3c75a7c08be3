//! The golden vectors of docs/protocol/vectors that concern the words of the core.
//!
//! Every file is read whole. Each case runs or is skipped for a stated reason; an operation that
//! nobody names fails.

#![allow(clippy::unwrap_used)]

mod api;
mod config;
mod guardian;
mod invite;
mod runner;
mod secrets;
mod session;
mod transaction;
