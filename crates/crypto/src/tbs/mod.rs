//! Threshold blind signatures over BLS12-381: the scheme behind e-cash notes.
//!
//! Messages and signatures are points of G1, public keys of G2. A user hashes a nonce to a
//! [`Message`], blinds it, lets a threshold of guardians sign the [`BlindedMessage`], combines the
//! shares and unblinds the result; the guardians later see a valid [`Signature`] they cannot link
//! to what they signed.
//!
//! ```text
//! nonce -hash-> Message -blind-> BlindedMessage -sign_share-> BlindedSignatureShare (per guardian)
//!                                               -combine-> BlindedSignature -unblind-> Signature
//! ```
//!
//! Guardian `i` holds the key polynomial's value at `i + 1`, everywhere.
//!
//! Source: docs/protocol/mint.md, section 1.

mod batch;
mod combine;
mod message;
mod sign;
mod values;

#[cfg(test)]
mod tests;

pub use batch::{
    BatchItem, ShareBatchItem, all_valid_with, verify_batch, verify_batch_with, verify_share_batch,
    verify_share_batch_with,
};
pub use combine::{CombineError, Combined, combine, combine_public_keys, combine_verified};
#[cfg(test)]
pub(crate) use message::seed_to_point;
pub use message::{hash_to_message_v1, hash_to_message_v2, hash_to_messages_v2};
pub use sign::{
    blind, public_key_share, sign_share, sign_shares, unblind, verify, verify_blinded, verify_share,
};
pub use values::{
    AggregatePublicKey, BlindedMessage, BlindedSignature, BlindedSignatureShare, BlindingKey,
    Message, PublicKeyShare, SecretKeyShare, Signature,
};
