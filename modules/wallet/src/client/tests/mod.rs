#![allow(clippy::unwrap_used)]

mod deposits;
mod host;
mod scanning;
mod withdrawals;
mod world;
