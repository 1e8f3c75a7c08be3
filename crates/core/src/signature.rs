//! BIP340 Schnorr signatures over 32-byte messages, the only kind this protocol makes.
//!
//! Signing takes no randomness: the auxiliary input is all zero, which BIP340 allows and which
//! keeps everything here a function of its arguments.

use std::sync::LazyLock;

use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{All, Keypair, Message, PublicKey, Secp256k1};

/// The tables of the curve, made once.
pub(crate) static CONTEXT: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// Signs the 32-byte `message` itself, without a further tag.
pub fn sign(message: &[u8; 32], key: &Keypair) -> Signature {
    CONTEXT.sign_schnorr_no_aux_rand(&Message::from_digest(*message), key)
}

/// Returns whether `signature` is by `key`, taken in its x-only form, over `message`.
pub fn verify(message: &[u8; 32], signature: &Signature, key: &PublicKey) -> bool {
    let (x_only, _) = key.x_only_public_key();
    CONTEXT.verify_schnorr(signature, &Message::from_digest(*message), &x_only).is_ok()
}
