//! Blinding, signing, unblinding and the single pairing checks.
//!
//! Source: docs/protocol/mint.md, section 1.3.

use super::{
    AggregatePublicKey, BlindedMessage, BlindedSignature, BlindedSignatureShare, BlindingKey,
    Message, PublicKeyShare, SecretKeyShare, Signature,
};
use crate::curve::{G2, pairing};
use crate::workers::map_chunks;

/// One signature share costs about 0.1 ms, far above starting a thread.
const SHARES_PER_WORKER_MIN: usize = 4;

/// Hides `message` behind the blinding key.
pub fn blind(message: &Message, key: &BlindingKey) -> BlindedMessage {
    BlindedMessage(message.0.times(&key.0))
}

/// One guardian's signature over a blinded message. Deterministic; constant time in the key.
///
/// Infinity is a legal blinded message and signs to infinity.
pub fn sign_share(message: &BlindedMessage, key: &SecretKeyShare) -> BlindedSignatureShare {
    BlindedSignatureShare(message.0.times(&key.0))
}

/// [`sign_share`] of each item, in order, on up to `workers` threads (0 and 1: on this one).
pub fn sign_shares(
    items: &[(BlindedMessage, &SecretKeyShare)],
    workers: usize,
) -> Vec<BlindedSignatureShare> {
    let sign_all = |chunk: &[(BlindedMessage, &SecretKeyShare)]| -> Vec<BlindedSignatureShare> {
        chunk.iter().map(|(message, key)| sign_share(message, key)).collect()
    };
    map_chunks(items, workers, SHARES_PER_WORKER_MIN, sign_all).concat()
}

/// Removes the blinding from a combined signature.
///
/// A blinding key of zero (never produced by derivation) gives infinity, which does not verify.
pub fn unblind(signature: &BlindedSignature, key: &BlindingKey) -> Signature {
    Signature(signature.0.times(&key.0.inverse()))
}

/// Whether `signature` is the federation's signature over `message`.
pub fn verify(message: &Message, signature: &Signature, key: &AggregatePublicKey) -> bool {
    pairing::signature_holds(&key.0, &message.0, &signature.0)
}

/// Whether a combined signature is the federation's over the blinded message.
pub fn verify_blinded(
    message: &BlindedMessage,
    signature: &BlindedSignature,
    key: &AggregatePublicKey,
) -> bool {
    pairing::signature_holds(&key.0, &message.0, &signature.0)
}

/// Whether `share` is the signature share of the guardian with public key share `key`.
pub fn verify_share(
    message: &BlindedMessage,
    share: &BlindedSignatureShare,
    key: &PublicKeyShare,
) -> bool {
    pairing::signature_holds(&key.0, &message.0, &share.0)
}

/// The public key share of a secret key share.
pub fn public_key_share(key: &SecretKeyShare) -> PublicKeyShare {
    PublicKeyShare(G2::generator().times(&key.0))
}
