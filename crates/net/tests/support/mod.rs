//! What the socket tests share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod bitcoind;
pub mod websocket;
