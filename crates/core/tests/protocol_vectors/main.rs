//! The golden vectors about transactions, sessions, configs, invites, guardians and backups.

#![allow(clippy::unwrap_used)]

mod api;
mod check;
mod config;
mod guardian;
mod invite;
mod secrets;
mod session;
mod transaction;
#[path = "../vectors/mod.rs"]
mod vectors;
