//! Everything of Moneta that opens a socket.
//!
//! * [`api`]: the JSON-RPC server a guardian answers with, and the client side of the same protocol
//!   (docs/protocol/core.md section 7).
//! * [`links`]: the encrypted, mutually authenticated connections between guardians.
//! * [`chain`]: where a guardian learns about the Bitcoin chain (docs/protocol/wallet.md section 3.1).
//! * [`http`]: the small HTTP client the chain sources use.
//!
//! What it is not: nothing here knows what a method or a frame means. Bytes and JSON come in bounded,
//! authenticated where the protocol says so, and are handed to a handler.
//!
//! Invariants: every queue, request, response, frame and connection count has a bound, and the module
//! text says what happens at the bound; no task outlives the handle that started it; no secret is
//! printed.
//!
//! Start reading at [`api::ApiServer`] or [`links::GuardianLinks`].

pub mod api;
mod backoff;
pub mod chain;
mod dial;
pub mod http;
pub mod links;
mod socket;

pub use backoff::Backoff;
