//! The secrets of notes: all follow from the wallet's seed and a public tweak.
//!
//! A tweak is 16 random bytes chosen so that the wallet's own filter recognises it: that lets the
//! owner skip all but one of 65,536 foreign outputs with one hash.
//!
//! Source: docs/protocol/mint.md, section 3.8.

use std::fmt;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::Keypair;
use moneta_core::{Decode, Encode};
use moneta_crypto::derive::DerivableSecret;
use moneta_crypto::tbs::{
    BlindedMessage, BlindedSignature, BlindingKey, Message, Signature, blind, unblind,
};
use sha2::compress256;
use sha2::digest::generic_array::GenericArray;
use zeroize::Zeroizing;

use crate::words::{Denomination, MintOutput, Nonce, OutputV0, SpendableNote, Tweak};

/// The secrets of all notes of one wallet in one federation. Redacted in `Debug`.
#[derive(Clone)]
pub struct NoteSecrets {
    root: DerivableSecret,
    filter: Zeroizing<[u8; 32]>,
}

/// A note that was asked for: what its keys derive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct NoteRequest {
    /// What it is worth.
    pub denomination: Denomination,
    /// Its tweak.
    pub tweak: Tweak,
}

/// The keys of one note. Redacted in `Debug`.
#[derive(Clone)]
pub struct NoteKeys {
    request: NoteRequest,
    key: Keypair,
    blinding: BlindingKey,
    message: Message,
}

/// The state that SHA-256 begins with (FIPS 180-4, section 5.3.3).
const SHA256_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

impl NoteSecrets {
    /// The secrets that follow from the module's node in the tree of secrets.
    pub fn new(root: DerivableSecret) -> Self {
        let filter = root.raw::<32>();
        Self { root, filter }
    }

    /// Whether `tweak` may be one of this wallet's.
    pub fn recognises(&self, tweak: &Tweak) -> bool {
        let mut bytes = Zeroizing::new([0; 48]);
        bytes[..16].copy_from_slice(tweak);
        bytes[16..].copy_from_slice(&*self.filter);
        sha256::Hash::hash(&*bytes).as_byte_array()[..2] == [0, 0]
    }

    /// Tries `attempts` tweaks in a row, counting up from `start`; returns those that the filter
    /// recognises. One of 65,536 does.
    ///
    /// A payment needs dozens of tweaks, so this is most of what a wallet computes. Tweak and
    /// filter fit one block of SHA-256 with its padding, so each try is one bare compression.
    pub fn grind(&self, start: u128, attempts: u32) -> impl Iterator<Item = Tweak> {
        let mut block = Zeroizing::new([0; 64]);
        block[16..48].copy_from_slice(&*self.filter);
        block[48] = 0x80;
        block[62..].copy_from_slice(&(48_u16 * 8).to_be_bytes());
        (0..attempts).map(move |step| start.wrapping_add(u128::from(step)).to_be_bytes()).filter(
            move |tweak| {
                block[..16].copy_from_slice(tweak);
                let mut state = SHA256_START;
                compress256(&mut state, std::slice::from_ref(GenericArray::from_slice(&*block)));
                state[0] >> 16 == 0
            },
        )
    }

    /// The keys of a note.
    pub fn keys(&self, request: NoteRequest) -> NoteKeys {
        let node = self.root.child(u64::from(request.denomination.0)).tweak(&request.tweak);
        let key = node.secp_keypair();
        let message = Nonce(key.public_key()).message();
        NoteKeys { request, key, blinding: node.bls_scalar().into(), message }
    }
}

impl NoteKeys {
    /// The note's serial number.
    pub fn nonce(&self) -> Nonce {
        Nonce(self.key.public_key())
    }

    /// What the federation's signature will be over.
    pub fn message(&self) -> Message {
        self.message
    }

    /// What guardians see and sign.
    pub fn blinded(&self) -> BlindedMessage {
        blind(&self.message, &self.blinding)
    }

    /// The output that asks for the note.
    pub fn output(&self) -> MintOutput {
        let NoteRequest { denomination, tweak } = self.request;
        MintOutput::V0(OutputV0 { denomination, blinded: self.blinded(), tweak })
    }

    /// The signature over the note, from the combined one. Not verified.
    pub fn unblind(&self, signature: &BlindedSignature) -> Signature {
        unblind(signature, &self.blinding)
    }

    /// The finished note. The caller has verified the signature.
    pub fn note(&self, signature: Signature) -> SpendableNote {
        SpendableNote { denomination: self.request.denomination, key: self.key, signature }
    }
}

/// As good as it gets: the curve library copies keys about.
impl Drop for NoteKeys {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl fmt::Debug for NoteSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoteSecrets(redacted)")
    }
}

impl fmt::Debug for NoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKeys(2^{}, redacted)", self.request.denomination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grinding_finds_just_what_the_filter_recognises() {
        let secrets = NoteSecrets::new(DerivableSecret::root(&[7; 32], &[8; 8]));
        let start = u128::MAX - 100_000;
        let found: Vec<Tweak> = secrets.grind(start, 300_000).collect();
        let all = (0..300_000_u128).map(|step| start.wrapping_add(step).to_be_bytes());
        let recognised: Vec<Tweak> = all.filter(|tweak| secrets.recognises(tweak)).collect();
        assert!(!found.is_empty());
        assert_eq!(found, recognised);
    }
}
