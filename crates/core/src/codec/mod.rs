//! The consensus encoding: one deterministic, self-delimiting binary format for hashing, signing,
//! storing and sending.
//!
//! Encoding cannot fail. Decoding reads from a slice that is wholly in memory, is total (every
//! input gives a value or a [`DecodeError`], never a panic) and bounded: a declared length is
//! checked against the bytes that remain before anything is reserved, and nesting is capped.
//!
//! Source: docs/protocol/core.md, section 1.

mod bigsize;
mod bitcoin_types;
mod collections;
mod curve_types;
mod primitives;
mod reader;

pub use bigsize::{bigsize_len, write_bigsize};
pub use bitcoin_types::LegacyNetwork;
pub use reader::{DecodeError, Reader};

use bitcoin::hashes::{Hash, sha256};

/// The largest value that is ever decoded as one piece, in bytes (core.md 1.7).
pub const MAX_DECODE_SIZE_BYTES: usize = 16_000_000;

/// A value with a consensus encoding.
pub trait Encode {
    /// Appends the encoding of `self` to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Returns the encoding of `self`.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Returns the single SHA-256 of the encoding (core.md 1.9).
    fn consensus_hash(&self) -> sha256::Hash {
        sha256::Hash::hash(&self.to_bytes())
    }

    /// Appends the elements of `slice`, without a count. `u8` overrides it with one copy.
    #[doc(hidden)]
    fn encode_slice(slice: &[Self], out: &mut Vec<u8>)
    where
        Self: Sized,
    {
        for element in slice {
            element.encode(out);
        }
    }
}

/// A value that can be read back from its consensus encoding.
pub trait Decode: Sized {
    /// Reads one value and leaves the reader behind it.
    ///
    /// Errors: any deviation from the one canonical encoding, see [`DecodeError`].
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that must fill `bytes` exactly.
    ///
    /// Errors: as [`Decode::decode`], and leftover bytes, and more than
    /// [`MAX_DECODE_SIZE_BYTES`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// Reads `count` elements. `u8` overrides it with one copy.
    ///
    /// Errors: as [`Decode::decode`], and an element that takes no bytes: a count of those would
    /// be work without input.
    #[doc(hidden)]
    fn decode_vec(count: u64, input: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let available = input.remaining() as u64;
        if count > available {
            return Err(DecodeError::Truncated { missing: count - available });
        }
        // Nothing is reserved: an element in memory may be far larger than its encoding.
        let mut elements = Vec::new();
        for _ in 0..count {
            let before = input.remaining();
            elements.push(Self::decode(input)?);
            if input.remaining() == before {
                return Err(DecodeError::Invalid("vector of elements without bytes"));
            }
        }
        Ok(elements)
    }

    /// Reads `N` elements. `u8` overrides it with one copy.
    #[doc(hidden)]
    fn decode_array<const N: usize>(input: &mut Reader<'_>) -> Result<[Self; N], DecodeError> {
        let mut elements = Vec::new();
        for _ in 0..N {
            elements.push(Self::decode(input)?);
        }
        elements.try_into().map_err(|_| DecodeError::Invalid("array"))
    }
}

/// Appends an enum variant: its index, the length of its payload, its payload.
///
/// Derived code calls this.
#[doc(hidden)]
pub fn write_variant(index: u64, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    payload(&mut bytes);
    write_bigsize(index, out);
    bytes.encode(out);
}

#[cfg(test)]
mod tests;
