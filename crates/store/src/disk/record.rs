//! What a log is made of: heads, and the records behind them.
//!
//! Layout, all numbers little-endian:
//! ```text
//! head     tag           16 bytes, of the store's id and the rest of the head
//!          acknowledged  u64, the number of the last commit that was acknowledged
//!          length        u64, of the rows behind the head; 0 if there is no record
//!          digest        32 bytes, SHA-256 of the rows
//! record   head, rows, zeros up to a whole number of blocks
//! row      u32 length of the key, u32 length of the value or REMOVED, key, value
//! ```
//! The number of a record is the one after `acknowledged`. Ids are random and never leave the store's
//! files, so nothing that somebody else has put into a value can pass for a head.

use std::fmt;
use std::io;

use sha2::{Digest as _, Sha256};

use crate::Batch;

/// Records begin at multiples of it. Written and synced alone, less than a page costs a page too.
pub(super) const BLOCK_BYTES: usize = 4096;
pub(super) const HEAD_BYTES: usize = 64;
const TAG_BYTES: usize = 16;

/// In place of a length: the key is removed.
const REMOVED: u32 = u32::MAX;

/// Which store a log belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct StoreId([u8; 16]);

impl StoreId {
    pub(super) fn random() -> io::Result<Self> {
        let mut id = [0; 16];
        getrandom::getrandom(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(id))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What only somebody who knows the id can make of `parts`.
    pub(super) fn tag(&self, parts: &[u8]) -> [u8; TAG_BYTES] {
        let digest = Sha256::new().chain_update(self.0).chain_update(parts).finalize();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&digest[..TAG_BYTES]);
        tag
    }
}

/// Whoever knows the id can forge records.
impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreId(..)")
    }
}

/// The first bytes of a record, or a mark without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of the last commit that was acknowledged when this was written.
    pub(super) acknowledged: u64,
    /// Bytes of the rows behind it, or 0.
    length: u64,
    digest: [u8; 32],
}

impl Head {
    /// Says that the commits up to `acknowledged` were, and nothing else.
    pub(super) fn mark(acknowledged: u64) -> Self {
        Self { acknowledged, length: 0, digest: [0; 32] }
    }

    pub(super) fn to_bytes(self, id: StoreId) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[16..24].copy_from_slice(&self.acknowledged.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.length.to_le_bytes());
        bytes[32..].copy_from_slice(&self.digest);
        let tag = id.tag(&bytes[TAG_BYTES..]);
        bytes[..TAG_BYTES].copy_from_slice(&tag);
        bytes
    }

    /// Reads the head that `bytes` begin with; `None` if there is none of this store.
    pub(super) fn read(id: StoreId, bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.get(..HEAD_BYTES)?.split_at(TAG_BYTES);
        if tag != id.tag(rest) {
            return None;
        }
        let (acknowledged, rest) = rest.split_first_chunk()?;
        let (length, digest) = rest.split_first_chunk()?;
        Some(Self {
            acknowledged: u64::from_le_bytes(*acknowledged),
            length: u64::from_le_bytes(*length),
            digest: digest.try_into().ok()?,
        })
    }

    pub(super) fn has_record(&self) -> bool {
        self.length > 0
    }

    /// Reads the rows of the record at the beginning of `bytes`, whose head this is; `None` if they are
    /// not what was written.
    pub(super) fn read_rows(&self, bytes: &[u8]) -> Option<Batch> {
        let end = HEAD_BYTES.checked_add(usize::try_from(self.length).ok()?)?;
        let rows = bytes.get(HEAD_BYTES..end)?;
        if Sha256::digest(rows).as_slice() != self.digest {
            return None;
        }
        decode(rows)
    }
}

/// Makes the record of `batch`, which is not empty, as the one after `acknowledged`.
///
/// Errors: a key or a value has 4 GB or more.
pub(super) fn encode(id: StoreId, acknowledged: u64, batch: &Batch) -> io::Result<Vec<u8>> {
    let rows = batch.iter().map(|(key, value)| 8 + key.len() + value.unwrap_or_default().len());
    let length = HEAD_BYTES + rows.sum::<usize>();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(BLOCK_BYTES));
    bytes.resize(HEAD_BYTES, 0);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a row of 4 GB or more");
    for (key, value) in batch.iter() {
        let key_length = u32::try_from(key.len()).map_err(|_| too_long())?;
        let value_length = match value.map(|value| u32::try_from(value.len())) {
            None => REMOVED,
            Some(Ok(length)) if length != REMOVED => length,
            Some(_) => return Err(too_long()),
        };
        bytes.extend_from_slice(&key_length.to_le_bytes());
        bytes.extend_from_slice(&value_length.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    let rows = &bytes[HEAD_BYTES..];
    let head =
        Head { acknowledged, length: rows.len() as u64, digest: Sha256::digest(rows).into() };
    bytes[..HEAD_BYTES].copy_from_slice(&head.to_bytes(id));
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    Ok(bytes)
}

fn decode(mut rows: &[u8]) -> Option<Batch> {
    let mut batch = Batch::new();
    while !rows.is_empty() {
        let (key_length, rest) = rows.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        rows = match u32::from_le_bytes(*value_length) {
            REMOVED => {
                batch.delete(key);
                rest
            }
            length => {
                let (value, rest) = rest.split_at_checked(length as usize)?;
                batch.put(key, value);
                rest
            }
        };
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ID: StoreId = StoreId([7; 16]);

    fn batch() -> Batch {
        let mut batch = Batch::new();
        batch.put(*b"", *b"value of the empty key");
        batch.put(*b"empty", *b"");
        batch.put(*b"large", vec![3; 10_000]);
        batch.delete(*b"removed");
        batch
    }

    #[test]
    fn record_is_read_as_it_was_written() {
        let bytes = encode(ID, 41, &batch()).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
        let head = Head::read(ID, &bytes).unwrap();
        assert_eq!(head.acknowledged, 41);
        assert!(head.has_record());
        assert_eq!(head.read_rows(&bytes).unwrap(), batch());
        assert_eq!(Head::read(StoreId([8; 16]), &bytes), None, "of another store");
    }

    #[test]
    fn mark_has_no_record() {
        let mark = Head::mark(5);
        assert_eq!(Head::read(ID, &mark.to_bytes(ID)), Some(mark));
        assert!(!mark.has_record());
    }

    #[test]
    fn altered_record_is_none() {
        let bytes = encode(ID, 41, &batch()).unwrap();
        let rows =
            batch().iter().map(|(k, v)| 8 + k.len() + v.unwrap_or_default().len()).sum::<usize>();
        for at in (0..HEAD_BYTES).chain((HEAD_BYTES..HEAD_BYTES + rows).step_by(97)) {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            let read = Head::read(ID, &altered).and_then(|head| head.read_rows(&altered));
            assert_eq!(read, None, "byte {at}");
        }
        for length in [0, HEAD_BYTES - 1, HEAD_BYTES, BLOCK_BYTES, HEAD_BYTES + rows - 1] {
            let cut = &bytes[..length];
            let read = Head::read(ID, cut).and_then(|head| head.read_rows(cut));
            assert_eq!(read, None, "cut at {length}");
        }
    }

    #[test]
    fn rows_that_end_too_early_are_none() {
        let bytes = encode(ID, 0, &batch()).unwrap();
        let head = Head::read(ID, &bytes).unwrap();
        let rows = &bytes[HEAD_BYTES..HEAD_BYTES + head.length as usize];
        let whole = (0..=rows.len()).filter(|end| decode(&rows[..*end]).is_some()).count();
        // Nothing, and behind each of the four rows.
        assert_eq!(whole, 5);
    }
}
