//! Guardian metadata: a JSON text under a signature.
//!
//! The signature covers the text byte by byte, so the text is kept as it came and never written
//! anew.

use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, PublicKey};
use serde::{Deserialize, Serialize};

use super::{Submission, tagged_digest};
use crate::codec::Reader;
use crate::{ApiUrl, Decode, DecodeError, Encode, PeerId, signature};

/// How far in the future metadata may be dated, in seconds.
pub const MAX_METADATA_AHEAD_SECS: u64 = 3600;

/// What a guardian says of itself. Unknown members of the JSON are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardianMetadata {
    /// Its addresses; the first counts.
    pub api_urls: Vec<ApiUrl>,
    /// The key under which the address is published, z-base32.
    pub pkarr_id_z32: String,
    /// When it was made, Unix seconds. Newer replaces older.
    pub timestamp_secs: u64,
    /// Id of the endpoint on the second iroh stack. Clients that saw it use nothing else, so once
    /// advertised it must stay reachable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iroh_next_endpoint: Option<String>,
}

impl GuardianMetadata {
    /// Writes the text to be signed and signs it with the guardian's broadcast key.
    pub fn sign(self, key: &Keypair) -> SignedGuardianMetadata {
        let content = serde_json::to_string(&self).expect("strings and numbers always serialize");
        let signature = signature::sign(&digest(&content), key);
        SignedGuardianMetadata { content, metadata: self, signature }
    }
}

/// Guardian metadata in the exact text that was signed.
///
/// Shape: JSON `{"content": "<text>", "signature": "<hex>"}`, binary the text as byte vector, then
/// the signature. The text must parse as [`GuardianMetadata`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "JsonForm", into = "JsonForm")]
pub struct SignedGuardianMetadata {
    content: String,
    metadata: GuardianMetadata,
    signature: Signature,
}

impl PartialEq for SignedGuardianMetadata {
    fn eq(&self, other: &Self) -> bool {
        // The parsed form follows from the text.
        self.content == other.content && self.signature == other.signature
    }
}

impl Eq for SignedGuardianMetadata {}

/// Why metadata is not accepted. The texts are what a submitter sees, with code 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not by the guardian's broadcast key.
    #[error("Invalid signature or timestamp: the signature does not verify")]
    Signature,
    /// Dated more than an hour ahead.
    #[error("Invalid signature or timestamp: the timestamp is too far in the future")]
    Future,
    /// The stored one is as new or newer.
    #[error("New metadata timestamp is not newer than existing")]
    NotNewer,
}

impl SignedGuardianMetadata {
    /// Returns what the text says. Nothing is known of its truth before [`Self::verify`].
    pub fn metadata(&self) -> &GuardianMetadata {
        &self.metadata
    }

    /// Returns the exact text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Returns the signed digest.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.content)
    }

    /// Returns the signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Checks signature and timestamp. `now_secs` is in Unix seconds.
    pub fn verify(&self, broadcast_key: &PublicKey, now_secs: u64) -> Result<(), MetadataError> {
        if !signature::verify(&self.digest(), &self.signature, broadcast_key) {
            return Err(MetadataError::Signature);
        }
        if self.metadata.timestamp_secs > now_secs.saturating_add(MAX_METADATA_AHEAD_SECS) {
            return Err(MetadataError::Future);
        }
        Ok(())
    }

    /// Decides about a submission in the order of guardian.md 5.2. That the guardian exists was
    /// checked before, by looking up its key.
    pub fn check_submission(
        &self,
        broadcast_key: &PublicKey,
        now_secs: u64,
        stored: Option<&Self>,
    ) -> Result<Submission, MetadataError> {
        self.verify(broadcast_key, now_secs)?;
        match stored {
            Some(stored) if stored.content == self.content => Ok(Submission::Known),
            Some(stored) if stored.metadata.timestamp_secs >= self.metadata.timestamp_secs => {
                Err(MetadataError::NotNewer)
            }
            _ => Ok(Submission::Store),
        }
    }

    fn from_parts(content: String, signature: Signature) -> Result<Self, serde_json::Error> {
        let metadata = serde_json::from_str(&content)?;
        Ok(Self { content, metadata, signature })
    }
}

/// Parameter of `submit_guardian_metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct SubmittedGuardianMetadata {
    /// What is submitted.
    #[serde(flatten)]
    pub signed: SignedGuardianMetadata,
    /// Whose it is.
    pub peer_id: PeerId,
}

impl Encode for SignedGuardianMetadata {
    fn encode(&self, out: &mut Vec<u8>) {
        self.content.encode(out);
        self.signature.encode(out);
    }
}

impl Decode for SignedGuardianMetadata {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (content, signature) = Decode::decode(input)?;
        Self::from_parts(content, signature).map_err(|_| DecodeError::Invalid("guardian metadata"))
    }
}

#[derive(Serialize, Deserialize)]
struct JsonForm {
    content: String,
    signature: Signature,
}

impl From<SignedGuardianMetadata> for JsonForm {
    fn from(signed: SignedGuardianMetadata) -> Self {
        Self { content: signed.content, signature: signed.signature }
    }
}

impl TryFrom<JsonForm> for SignedGuardianMetadata {
    type Error = serde_json::Error;

    fn try_from(json: JsonForm) -> Result<Self, serde_json::Error> {
        Self::from_parts(json.content, json.signature)
    }
}

fn digest(content: &str) -> [u8; 32] {
    tagged_digest(b"fedimint-guardian-metadata", content.as_bytes())
}
