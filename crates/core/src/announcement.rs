//! Where guardians say, under their broadcast key, that they can be reached.
//!
//! There are two generations of the same idea. An API announcement is one URL with a nonce; guardian
//! metadata is a JSON text with a timestamp, and overrides the former.
//!
//! Source: docs/protocol/core.md, section 7.6; docs/protocol/guardian.md, section 5.

mod metadata;

pub use metadata::{
    GuardianMetadata, MAX_METADATA_AHEAD_SECS, MetadataError, SignedGuardianMetadata,
    SubmittedGuardianMetadata,
};

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::{ApiUrl, Decode, Encode, PeerId, signature};

/// One guardian's address. A higher nonce replaces a lower one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct ApiAnnouncement {
    /// The address. The signature covers its display form alone.
    pub api_url: ApiUrl,
    /// Counts the guardian's announcements.
    pub nonce: u64,
}

impl ApiAnnouncement {
    /// Returns the digest to sign.
    pub fn digest(&self) -> [u8; 32] {
        tagged_digest(b"fedimint-api-announcement", &self.to_bytes())
    }

    /// Signs with the guardian's broadcast key.
    pub fn sign(self, key: &Keypair) -> SignedApiAnnouncement {
        let signature = signature::sign(&self.digest(), key);
        SignedApiAnnouncement { api_announcement: self, signature }
    }
}

/// An announcement with the guardian's signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct SignedApiAnnouncement {
    /// What is announced.
    pub api_announcement: ApiAnnouncement,
    /// By the guardian's broadcast key.
    pub signature: Signature,
}

/// Parameter of `submit_api_announcement`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct SubmittedApiAnnouncement {
    /// What is submitted.
    #[serde(flatten)]
    pub signed: SignedApiAnnouncement,
    /// Whose it is.
    pub peer_id: PeerId,
}

/// What a valid submission changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submission {
    /// It is newer: store it.
    Store,
    /// It is the one already stored: success, nothing to do.
    Known,
}

/// Why an announcement is not stored. The texts are what the submitter sees, with code 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Not by the guardian's broadcast key.
    #[error("Invalid signature")]
    Signature,
    /// The stored one is newer.
    #[error("Outdated or redundant announcement")]
    Outdated,
}

impl SignedApiAnnouncement {
    /// Returns whether the guardian with this broadcast key signed it.
    pub fn verify(&self, broadcast_key: &PublicKey) -> bool {
        signature::verify(&self.api_announcement.digest(), &self.signature, broadcast_key)
    }

    /// Decides about a submission in the order of guardian.md 5.1. That the guardian exists was
    /// checked before, by looking up its key.
    pub fn check_submission(
        &self,
        broadcast_key: &PublicKey,
        stored: Option<&Self>,
    ) -> Result<Submission, AnnouncementError> {
        if !self.verify(broadcast_key) {
            return Err(AnnouncementError::Signature);
        }
        match stored.map(|stored| &stored.api_announcement) {
            Some(stored) if *stored == self.api_announcement => Ok(Submission::Known),
            Some(stored) if stored.nonce >= self.api_announcement.nonce => {
                Err(AnnouncementError::Outdated)
            }
            _ => Ok(Submission::Store),
        }
    }
}

/// Returns which of a guardian's addresses counts: the first of its metadata, else the announced
/// one, else the one of the config.
///
/// Once metadata with an address exists, announcements are without effect.
pub fn current_url<'a>(
    configured: &'a ApiUrl,
    announced: Option<&'a ApiAnnouncement>,
    metadata: Option<&'a GuardianMetadata>,
) -> &'a ApiUrl {
    let described = metadata.and_then(|metadata| metadata.api_urls.first());
    described.or(announced.map(|announced| &announced.api_url)).unwrap_or(configured)
}

fn tagged_digest(tag: &[u8], message: &[u8]) -> [u8; 32] {
    let mut engine = sha256::Hash::engine();
    engine.input(tag);
    engine.input(message);
    sha256::Hash::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests;
