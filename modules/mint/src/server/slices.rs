//! Slices of the recovery log: read in one scan, hashed and written as JSON from the stored bytes.
//!
//! A wallet asks all guardians for the hash of a slice and then one of them for the slice. So a full
//! slice that was read for its hash is kept for a moment, and its hash for good: the log only grows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::hashes::sha256;
use moneta_core::api::ApiError;
use moneta_module::cache::Cache;
use moneta_store::{Read, StoreError};

use super::tables::scan_recovery;
use crate::words::{MAX_SLICE_ITEMS, SliceRange, encoded_slice_hash};

/// Slice hashes kept; each stands for 10,000 items of the log.
const HASHES_MAX: usize = 8_192;

/// Full slices kept, of 0.3 MB each: those that a wallet has under way.
const RECENT_MAX: usize = 8;

/// JSON of an output is 170 bytes at most, that of an input 70.
const JSON_BYTES_PER_ITEM: usize = 128;

/// What is kept of slices.
pub(super) struct Slices {
    /// By start.
    hashes: Cache<u64, sha256::Hash>,
    /// By start, the latest last.
    recent: Mutex<VecDeque<(u64, Arc<Slice>)>>,
}

/// The encodings of some items of the log, one after the other.
struct Slice {
    count: u64,
    items: Vec<u8>,
}

impl Slices {
    pub(super) fn new() -> Self {
        Self { hashes: Cache::new(HASHES_MAX), recent: Mutex::default() }
    }

    /// The hash of the items in `range`, which must lie in the log.
    pub(super) fn hash(
        &self,
        state: &dyn Read,
        range: SliceRange,
    ) -> Result<sha256::Hash, StoreError> {
        let SliceRange(start, _) = range;
        let is_full = is_full(range);
        if is_full && let Some(hash) = self.hashes.get(&start) {
            return Ok(hash);
        }
        let slice = Arc::new(Slice::read(state, range)?);
        let hash = encoded_slice_hash(slice.count, &slice.items);
        if is_full {
            self.hashes.insert(start, hash);
            let mut recent = self.recent();
            recent.push_back((start, slice));
            if recent.len() > RECENT_MAX {
                recent.pop_front();
            }
        }
        Ok(hash)
    }

    /// The items in `range`, which must lie in the log, as a JSON list.
    pub(super) fn json(&self, state: &dyn Read, range: SliceRange) -> Result<String, ApiError> {
        let SliceRange(start, _) = range;
        let kept = is_full(range).then(|| self.take(start)).flatten();
        let slice = match kept {
            Some(slice) => slice,
            None => Arc::new(Slice::read(state, range).map_err(ApiError::internal)?),
        };
        slice.json().ok_or_else(|| ApiError::internal("the recovery log is damaged"))
    }

    fn take(&self, start: u64) -> Option<Arc<Slice>> {
        let mut recent = self.recent();
        let index = recent.iter().position(|(of, _)| *of == start)?;
        recent.remove(index).map(|(_, slice)| slice)
    }

    /// Changed by single insertions and removals.
    fn recent(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Slice>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A full slice never changes again.
fn is_full(SliceRange(start, end): SliceRange) -> bool {
    end - start == MAX_SLICE_ITEMS && start.is_multiple_of(MAX_SLICE_ITEMS)
}

impl Slice {
    fn read(state: &dyn Read, range: SliceRange) -> Result<Self, StoreError> {
        let (mut count, mut items) = (0, Vec::new());
        for entry in scan_recovery(state, range) {
            let (_, item) = entry?;
            items.extend_from_slice(&item);
            count += 1;
        }
        Ok(Self { count, items })
    }

    /// `None` if the bytes are no items.
    fn json(&self) -> Option<String> {
        let mut json = Vec::with_capacity(2 + self.count as usize * JSON_BYTES_PER_ITEM);
        json.push(b'[');
        let mut rest = &self.items[..];
        while !rest.is_empty() {
            if rest.len() < self.items.len() {
                json.push(b',');
            }
            rest = push_item(&mut json, rest)?;
        }
        json.push(b']');
        String::from_utf8(json).ok()
    }
}

/// Writes the first item of `bytes` as JSON; returns what is behind it.
///
/// Source: docs/protocol/mint.md, section 3.6.
fn push_item<'a>(json: &mut Vec<u8>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    match bytes {
        [0, 37, denomination, rest @ ..] => {
            let (hash, rest) = rest.split_at_checked(20)?;
            let (tweak, rest) = rest.split_at_checked(16)?;
            json.extend_from_slice(br#"{"Output":{"denomination":"#);
            push_number(json, *denomination);
            json.extend_from_slice(br#","nonce_hash":""#);
            push_hex(json, hash);
            json.extend_from_slice(br#"","tweak":"#);
            for (index, byte) in tweak.iter().enumerate() {
                json.push(if index == 0 { b'[' } else { b',' });
                push_number(json, *byte);
            }
            json.extend_from_slice(b"]}}");
            Some(rest)
        }
        [1, 20, rest @ ..] => {
            let (hash, rest) = rest.split_at_checked(20)?;
            json.extend_from_slice(br#"{"Input":{"nonce_hash":""#);
            push_hex(json, hash);
            json.extend_from_slice(br#""}}"#);
            Some(rest)
        }
        _ => None,
    }
}

fn push_number(json: &mut Vec<u8>, number: u8) {
    if number >= 100 {
        json.push(b'0' + number / 100);
    }
    if number >= 10 {
        json.push(b'0' + number / 10 % 10);
    }
    json.push(b'0' + number % 10);
}

fn push_hex(json: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        let pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        json.extend_from_slice(&pair);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_core::Encode;

    use super::*;
    use crate::words::{Denomination, RecoveryItem, hash160};

    #[test]
    fn json_of_stored_bytes_is_that_of_the_items() {
        let tweaks = [[0; 16], [9; 16], [10; 16], [99; 16], [100; 16], [255; 16]];
        let outputs = (0_u8..).zip(tweaks).map(|(number, tweak)| RecoveryItem::Output {
            denomination: Denomination(number * 51),
            nonce_hash: hash160(&[number]),
            tweak,
        });
        let input = RecoveryItem::Input { nonce_hash: hash160(b"spent") };
        let items: Vec<_> = outputs.chain([input.clone(), input]).collect();
        for count in 0..=items.len() {
            let items = &items[..count];
            let bytes: Vec<u8> = items.iter().flat_map(Encode::to_bytes).collect();
            let slice = Slice { count: count as u64, items: bytes.clone() };
            assert_eq!(slice.json().unwrap(), serde_json::to_string(items).unwrap());
            if let Some(torn) = bytes.len().checked_sub(1) {
                let slice = Slice { count: count as u64, items: bytes[..torn].to_vec() };
                assert_eq!(slice.json(), None);
            }
        }
    }
}
