//! Notes, as guardians and as their owners see them.

use std::cmp::Ordering;
use std::fmt;

use bitcoin::secp256k1::{Keypair, PublicKey};
use moneta_core::amount::Msat;
use moneta_core::{Decode, Encode};
use moneta_crypto::tbs::{Message, Signature, hash_to_message_v2};
use serde::{Deserialize, Serialize};

use super::{Denomination, MintInput};

/// The public random bytes of a note from which the owner of the seed derives its keys.
pub type Tweak = [u8; 16];

/// A note's public key: its serial number, and the key that spends it.
///
/// Encoding: 33 bytes, compressed. JSON: hex. All 33 bytes count, the parity byte included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub PublicKey);

impl Nonce {
    /// Length of the byte form.
    pub const LEN: usize = 33;

    /// The 33 bytes.
    #[must_use]
    pub fn to_array(self) -> [u8; Self::LEN] {
        self.0.serialize()
    }

    /// The point that the federation's signature is over.
    ///
    /// Source: docs/protocol/mint.md, section 1.2.
    #[must_use]
    pub fn message(self) -> Message {
        hash_to_message_v2(&self.to_array())
    }
}

/// The order of the bytes.
impl Ord for Nonce {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_array().cmp(&other.to_array())
    }
}

impl PartialOrd for Nonce {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({}..)", hex::encode(&self.to_array()[..8]))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A note as it is presented to be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Note {
    /// Its worth.
    pub denomination: Denomination,
    /// Its serial number.
    pub nonce: Nonce,
    /// The federation's signature over the nonce.
    pub signature: Signature,
}

/// A note with the key that spends it: money. Redacted in `Debug`.
///
/// Encoding: denomination (1), secret key (32), signature (48).
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SpendableNote {
    /// Its worth.
    pub denomination: Denomination,
    /// Spends it. The public half is the nonce.
    pub key: Keypair,
    /// The federation's signature over the nonce.
    pub signature: Signature,
}

impl SpendableNote {
    /// The serial number.
    #[must_use]
    pub fn nonce(&self) -> Nonce {
        Nonce(self.key.public_key())
    }

    /// The public part.
    #[must_use]
    pub fn note(&self) -> Note {
        let Self { denomination, signature, .. } = *self;
        Note { denomination, nonce: self.nonce(), signature }
    }

    /// What it is worth; `None` for a denomination that no federation issues.
    #[must_use]
    pub fn value(&self) -> Option<Msat> {
        self.denomination.value()
    }

    /// The input that spends it.
    #[must_use]
    pub fn input(&self) -> MintInput {
        MintInput::new(self.note())
    }
}

impl fmt::Debug for SpendableNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpendableNote(2^{}, redacted)", self.denomination)
    }
}
