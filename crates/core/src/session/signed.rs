//! What guardians sign when a session ends, and how the signatures are checked.
//!
//! Source: docs/protocol/core.md, section 4.2.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, PublicKey};

use super::SessionOutcome;
use crate::{Decode, Encode, FederationSize, PeerId, SessionIndex, signature};

/// The 40 bytes that stand for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionHeader {
    /// Which session.
    pub index: SessionIndex,
    /// Merkle root over the accepted items.
    pub root: [u8; 32],
}

impl SessionHeader {
    /// Returns `u64 big endian index || root`.
    pub fn to_header_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.index.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.root);
        bytes
    }

    /// Returns the 32-byte message that guardians sign.
    ///
    /// `broadcast_keys` must be the map of the client config, whole: it is part of the message.
    pub fn signed_message(&self, broadcast_keys: &BTreeMap<PeerId, PublicKey>) -> [u8; 32] {
        let mut bytes = [0; 72];
        bytes[..32].copy_from_slice(broadcast_keys.consensus_hash().as_byte_array());
        bytes[32..].copy_from_slice(&self.to_header_bytes());
        sha256::Hash::hash(&bytes).to_byte_array()
    }

    /// Signs as one guardian, with its broadcast key.
    pub fn sign(
        &self,
        broadcast_keys: &BTreeMap<PeerId, PublicKey>,
        own_key: &Keypair,
    ) -> Signature {
        signature::sign(&self.signed_message(broadcast_keys), own_key)
    }

    /// Returns whether `signature` is `signer`'s for this session. False for unknown signers.
    pub fn verify_one(
        &self,
        broadcast_keys: &BTreeMap<PeerId, PublicKey>,
        signer: PeerId,
        signature: &Signature,
    ) -> bool {
        broadcast_keys.get(&signer).is_some_and(|key| {
            signature::verify(&self.signed_message(broadcast_keys), signature, key)
        })
    }
}

/// A finished session with the guardians' signatures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SignedSessionOutcome {
    /// The items.
    pub session_outcome: SessionOutcome,
    /// Who signed.
    pub signatures: BTreeMap<PeerId, Signature>,
}

/// How many signatures a session must carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerRule {
    /// The threshold or more: what clients ask.
    AtLeastThreshold,
    /// The threshold and no more: what guardians ask of each other, so that all store one form.
    ExactlyThreshold,
}

/// Why a signed session was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionSignatureError {
    /// There are no keys to check against.
    #[error("no broadcast keys are known")]
    NoKeys,
    /// The number of signatures breaks the rule.
    #[error("{given} signatures where {threshold} are the threshold")]
    Count {
        /// How many there are.
        given: usize,
        /// The threshold.
        threshold: usize,
    },
    /// A signer is not of the federation.
    #[error("guardian {0} is not of the federation")]
    UnknownSigner(PeerId),
    /// A signature does not verify.
    #[error("the signature of guardian {0} is invalid")]
    InvalidSignature(PeerId),
}

impl SignedSessionOutcome {
    /// Checks that the federation with these keys signed this outcome as session `index`.
    ///
    /// Every listed signer must be known and every signature must verify, also those beyond the
    /// threshold.
    pub fn verify(
        &self,
        index: SessionIndex,
        broadcast_keys: &BTreeMap<PeerId, PublicKey>,
        rule: SignerRule,
    ) -> Result<(), SessionSignatureError> {
        let size = FederationSize::new(broadcast_keys.len());
        let threshold = size.ok_or(SessionSignatureError::NoKeys)?.threshold();
        let given = self.signatures.len();
        let enough = match rule {
            SignerRule::AtLeastThreshold => given >= threshold,
            SignerRule::ExactlyThreshold => given == threshold,
        };
        if !enough {
            return Err(SessionSignatureError::Count { given, threshold });
        }
        // Hashing every item is the costly part, so strangers are found first.
        let mut checks = Vec::with_capacity(given);
        for (signer, signature) in &self.signatures {
            let key =
                broadcast_keys.get(signer).ok_or(SessionSignatureError::UnknownSigner(*signer))?;
            checks.push((*signer, signature, key));
        }
        let message = self.session_outcome.header(index).signed_message(broadcast_keys);
        for (signer, signature, key) in checks {
            if !signature::verify(&message, signature, key) {
                return Err(SessionSignatureError::InvalidSignature(signer));
            }
        }
        Ok(())
    }
}
