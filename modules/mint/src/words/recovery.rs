//! The log from which wallets find their notes again.
//!
//! Source: docs/protocol/mint.md, sections 3.6 and 3.7.

use bitcoin::hashes::{Hash as _, HashEngine as _, hash160, sha256};
use moneta_core::codec::write_bigsize;
use moneta_core::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Denomination, Tweak};

/// The most items in one slice of the log; also the size of the slices wallets ask for.
pub const MAX_SLICE_ITEMS: u64 = 10_000;

/// One entry of the log. Closed.
///
/// An output is hashed over its blinded message, an input over its nonce.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum RecoveryItem {
    /// A note was issued.
    Output {
        /// Its worth.
        denomination: Denomination,
        /// Hash of the blinded message.
        nonce_hash: hash160::Hash,
        /// Tells its owner which keys it has.
        tweak: Tweak,
    },
    /// A note was spent.
    Input {
        /// Hash of the nonce.
        nonce_hash: hash160::Hash,
    },
}

/// Which items: parameters of the slice endpoints, `[start, end]` in JSON, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct SliceRange(pub u64, pub u64);

/// The hash under which blinded messages (48 bytes) and nonces (33 bytes) stand in the log.
#[must_use]
pub fn hash160(bytes: &[u8]) -> hash160::Hash {
    hash160::Hash::hash(bytes)
}

/// The hash of a slice, from the encodings of its items: SHA-256 over count and items.
#[must_use]
pub fn slice_hash<B: AsRef<[u8]>>(items: impl ExactSizeIterator<Item = B>) -> sha256::Hash {
    let mut engine = begin_slice_hash(items.len() as u64);
    for item in items {
        engine.input(item.as_ref());
    }
    sha256::Hash::from_engine(engine)
}

/// [`slice_hash`] of `count` items whose encodings follow each other in `items`.
#[must_use]
pub fn encoded_slice_hash(count: u64, items: &[u8]) -> sha256::Hash {
    let mut engine = begin_slice_hash(count);
    engine.input(items);
    sha256::Hash::from_engine(engine)
}

fn begin_slice_hash(count: u64) -> sha256::HashEngine {
    let mut engine = sha256::Hash::engine();
    let mut prefix = Vec::new();
    write_bigsize(count, &mut prefix);
    engine.input(&prefix);
    engine
}
