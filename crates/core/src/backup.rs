//! Client backups: an encrypted snapshot that every guardian stores per client key.
//!
//! Nothing here draws randomness or reads a clock: nonce and time are given.
//!
//! Source: docs/protocol/core.md, section 9.6; docs/protocol/guardian.md, section 8.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, PublicKey};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec::Reader;
use crate::{
    BackupEnvelope, Decode, DecodeError, Encode, ModuleInstanceId, Timestamp, hex_bytes, signature,
};

/// Largest encrypted backup that a guardian stores.
pub const MAX_BACKUP_BYTES: usize = 131_072;

/// A module's encoded entry (instance, length, bytes) must be shorter than this.
pub const MODULE_BACKUP_LIMIT_BYTES: usize = 32_768;

/// How far in the future a backup may be dated.
pub const MAX_FUTURE: Duration = Duration::from_secs(3600);

/// The plaintext is filled up to a multiple of this, so that its size says little.
const PADDING_BLOCK_BYTES: usize = 4096;

const NONCE_BYTES: usize = 12;

/// The content of a backup.
///
/// Shape: session count, metadata, module entries, and an empty byte vector that is a relic of an
/// older padding. Each entry names its instance twice, as map key and inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientBackup {
    /// The session count when it was made; of several backups the highest is used.
    pub session_count: u64,
    /// Bytes of the application, often JSON.
    pub metadata: Vec<u8>,
    /// What the modules want back.
    pub modules: BTreeMap<ModuleInstanceId, BackupEnvelope>,
}

impl Encode for ClientBackup {
    fn encode(&self, out: &mut Vec<u8>) {
        self.session_count.encode(out);
        self.metadata.encode(out);
        self.modules.encode(out);
        out.push(0);
    }
}

impl Decode for ClientBackup {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let backup = Self {
            session_count: Decode::decode(input)?,
            metadata: Decode::decode(input)?,
            modules: Decode::decode(input)?,
        };
        input.take_prefixed()?;
        Ok(backup)
    }
}

/// Why an encrypted backup could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupReadError {
    /// Not encrypted with this key, or damaged.
    #[error("the backup does not decrypt")]
    Decryption,
    /// Decrypted, but no backup.
    #[error("the backup is malformed: {0}")]
    Content(#[from] DecodeError),
}

impl ClientBackup {
    /// Adds a module's entry if it is short enough, else the one of the module's `previous`
    /// backup. Returns whether the new one was taken.
    pub fn insert_module(&mut self, entry: BackupEnvelope, previous: Option<&Self>) -> bool {
        let instance = entry.instance;
        let fits = entry.to_bytes().len() < MODULE_BACKUP_LIMIT_BYTES;
        let older = || previous.and_then(|backup| backup.modules.get(&instance)).cloned();
        if let Some(entry) = if fits { Some(entry) } else { older() } {
            self.modules.insert(instance, entry);
        }
        fits
    }

    /// Encrypts with the key of the backup secret.
    ///
    /// Shape: `nonce || ciphertext || tag`, the plaintext filled with zeros up to a multiple of
    /// 4096 bytes. `nonce` must be random and never used twice with one key.
    pub fn encrypt(&self, key: &[u8; 32], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let mut plaintext = Zeroizing::new(self.to_bytes());
        let padded_len = plaintext.len().next_multiple_of(PADDING_BLOCK_BYTES);
        plaintext.resize(padded_len, 0);
        let sealed = ChaCha20Poly1305::new(Key::from_slice(key))
            .encrypt(Nonce::from_slice(&nonce), plaintext.as_slice())
            .expect("ChaCha20-Poly1305 takes plaintexts up to 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts and decodes; whatever follows the backup is taken for padding.
    pub fn decrypt(blob: &[u8], key: &[u8; 32]) -> Result<Self, BackupReadError> {
        let (nonce, sealed) =
            blob.split_at_checked(NONCE_BYTES).ok_or(BackupReadError::Decryption)?;
        let plaintext = ChaCha20Poly1305::new(Key::from_slice(key))
            .decrypt(Nonce::from_slice(nonce), sealed)
            .map_err(|_| BackupReadError::Decryption)?;
        let plaintext = Zeroizing::new(plaintext);
        Ok(Self::decode(&mut Reader::new(&plaintext)?)?)
    }

    /// Picks from the guardians' answers the readable backup with the highest session count. Those
    /// that do not decrypt are dropped: anybody may store rubbish at his own guardian.
    pub fn newest<'a>(
        answers: impl IntoIterator<Item = &'a BackupSnapshot>,
        key: &[u8; 32],
    ) -> Option<Self> {
        let readable =
            answers.into_iter().filter_map(|answer| Self::decrypt(&answer.data, key).ok());
        readable.max_by_key(|backup| backup.session_count)
    }
}

/// What a client asks a guardian to store.
///
/// Shape: id, payload with length, timestamp. The signed digest is the hash of this.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The client's backup key.
    pub id: PublicKey,
    /// The encrypted backup. In JSON plain hex.
    #[serde(with = "hex_bytes")]
    pub payload: Vec<u8>,
    /// When it was made; a guardian takes only newer ones.
    pub timestamp: Timestamp,
}

impl fmt::Debug for BackupRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupRequest")
            .field("id", &self.id)
            .field("payload_len", &self.payload.len())
            .field("timestamp", &self.timestamp)
            .finish()
    }
}

impl BackupRequest {
    /// Returns the digest to sign.
    pub fn digest(&self) -> [u8; 32] {
        self.consensus_hash().to_byte_array()
    }

    /// Signs; `key` must be the one of `id`, else guardians refuse.
    pub fn sign(self, key: &Keypair) -> SignedBackupRequest {
        let signature = signature::sign(&self.digest(), key);
        SignedBackupRequest { request: self, signature }
    }
}

/// The parameter of the `backup` endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct SignedBackupRequest {
    /// What to store.
    #[serde(flatten)]
    pub request: BackupRequest,
    /// By the key of `request.id`.
    pub signature: Signature,
}

/// Why a guardian does not store a backup. The texts are what clients see, with code 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupRefusal {
    /// The signature is not by the key of the id.
    #[error("invalid request")]
    Signature,
    /// Dated more than an hour ahead.
    #[error("timestamp too far in the future")]
    Future,
    /// Larger than [`MAX_BACKUP_BYTES`].
    #[error("snapshot too large")]
    TooLarge,
    /// Not newer than the stored one.
    #[error("timestamp too small")]
    NotNewer,
}

impl SignedBackupRequest {
    /// Decides whether a guardian stores this, in the fixed order of guardian.md 8.1.
    ///
    /// `stored` is the time of the snapshot it holds for this id.
    pub fn check(&self, stored: Option<Timestamp>, now: Timestamp) -> Result<(), BackupRefusal> {
        let request = &self.request;
        if !signature::verify(&request.digest(), &self.signature, &request.id) {
            return Err(BackupRefusal::Signature);
        }
        let ahead = request.timestamp.since_epoch().saturating_sub(now.since_epoch());
        if ahead > MAX_FUTURE {
            return Err(BackupRefusal::Future);
        }
        if request.payload.len() > MAX_BACKUP_BYTES {
            return Err(BackupRefusal::TooLarge);
        }
        if stored.is_some_and(|stored| request.timestamp <= stored) {
            return Err(BackupRefusal::NotNewer);
        }
        Ok(())
    }

    /// Returns what a guardian stores.
    pub fn into_snapshot(self) -> BackupSnapshot {
        BackupSnapshot { timestamp: self.request.timestamp, data: self.request.payload }
    }
}

/// What a guardian stores per id, and answers to `recover`.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct BackupSnapshot {
    /// When it was made.
    pub timestamp: Timestamp,
    /// The encrypted backup. In JSON plain hex.
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
}

impl fmt::Debug for BackupSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupSnapshot")
            .field("timestamp", &self.timestamp)
            .field("data_len", &self.data.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
