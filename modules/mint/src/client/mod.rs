//! What a wallet does with e-cash.

mod keys;

pub use keys::{NoteKeys, NoteRequest, NoteSecrets};
