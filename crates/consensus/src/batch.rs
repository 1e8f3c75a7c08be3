//! What one unit carries: a close mark and a batch of items.
//!
//! AlephBFT moves a unit's data as opaque bytes ([`UnitData`]). The bytes are, in this order:
//!
//! ```text
//! flags   u8       bit 0: close mark; all other bits zero
//! item*   u32 big endian length (at least 1), then that many bytes, up to the end
//! ```
//!
//! A batch is decoded as a whole when it was ordered: if any part of it is malformed, the whole
//! batch is void, its close mark too, and since the same bytes are ordered everywhere, so it is
//! for every guardian. Only the total length is checked earlier ([`FRAME_LIMIT_BYTES`]): units
//! above it are not decoded at all, so they never enter the graph of an honest guardian.

use std::{fmt, sync::Arc};

use parity_scale_codec::{Compact, Decode, Encode, EncodeLike, Error, Input, Output};

/// The longest item, and the budget of items in one unit: 50,000 bytes, as large as the largest
/// transaction that clients of the protocol may submit needs.
pub const ITEM_LIMIT_BYTES: usize = 50_000;

/// Bytes of a length before each item.
const LENGTH_BYTES: usize = 4;

/// The longest data of one unit: one item of the largest size, or many with the same sum.
pub(crate) const FRAME_LIMIT_BYTES: usize = 1 + LENGTH_BYTES + ITEM_LIMIT_BYTES;

const CLOSE: u8 = 1;

/// A unit's data as AlephBFT carries it. Cheap to clone: AlephBFT clones units often.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct UnitData(Arc<[u8]>);

impl UnitData {
    /// Frames `items`, all within the limits (see [`fits`]), with or without a close mark.
    pub(crate) fn frame(close: bool, items: &[Vec<u8>]) -> Self {
        let length: usize = items.iter().map(|item| LENGTH_BYTES + item.len()).sum();
        let mut bytes = Vec::with_capacity(1 + length);
        bytes.push(if close { CLOSE } else { 0 });
        for item in items {
            let length = u32::try_from(item.len()).expect("an item is at most 50,000 bytes");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(item);
        }
        Self(bytes.into())
    }

    /// The framed bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for UnitData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitData({} bytes)", self.0.len())
    }
}

impl Encode for UnitData {
    fn size_hint(&self) -> usize {
        self.0.len() + 4
    }

    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        let length = u32::try_from(self.0.len()).expect("a frame is at most FRAME_LIMIT_BYTES");
        Compact(length).encode_to(dest);
        dest.write(&self.0);
    }
}

impl EncodeLike for UnitData {}

impl Decode for UnitData {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        let Compact(length) = Compact::<u32>::decode(input)?;
        let length = length as usize;
        if length > FRAME_LIMIT_BYTES {
            return Err("unit data above the limit".into());
        }
        let mut bytes = vec![0; length];
        input.read(&mut bytes)?;
        Ok(Self(bytes.into()))
    }
}

/// The decoded data of one unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The creator wants the session to end.
    pub(crate) close: bool,
    /// The items in the order their creator queued them; each has at least one byte.
    pub(crate) items: Vec<Vec<u8>>,
}

impl Batch {
    /// Reads a frame whole; `None` if any part of it is malformed.
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (flags, mut rest) = frame.split_first()?;
        if frame.len() > FRAME_LIMIT_BYTES || flags & !CLOSE != 0 {
            return None;
        }
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = u32::from_be_bytes(*length) as usize;
            if length == 0 {
                return None;
            }
            let (item, tail) = tail.split_at_checked(length)?;
            items.push(item.to_vec());
            rest = tail;
        }
        Some(Self { close: flags & CLOSE != 0, items })
    }
}

/// What can be told of a frame without decoding its items: (has items, has a close mark).
pub(crate) fn peek(frame: &[u8]) -> (bool, bool) {
    (frame.len() > 1, frame.first().is_some_and(|flags| flags & CLOSE != 0))
}

/// Whether an item of `length` bytes still fits beside a batch whose frame has `framed` bytes so
/// far; returns the frame's new length. An empty frame has 1 byte.
pub(crate) fn fits(framed: usize, length: usize) -> Option<usize> {
    let total = framed + LENGTH_BYTES + length;
    (total <= FRAME_LIMIT_BYTES).then_some(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frame_decodes_to_what_was_framed() {
        let items = vec![b"a".to_vec(), vec![7; ITEM_LIMIT_BYTES - 5]];
        for close in [false, true] {
            let data = UnitData::frame(close, &items);
            let batch = Batch::decode(data.as_bytes()).unwrap();
            assert_eq!(batch, Batch { close, items: items.clone() });
            assert_eq!(UnitData::decode(&mut &data.encode()[..]).unwrap(), data);
        }
        let mark = UnitData::frame(true, &[]);
        assert_eq!(Batch::decode(mark.as_bytes()).unwrap(), Batch { close: true, items: vec![] });
    }

    #[test]
    fn malformed_frame_is_void_as_a_whole() {
        let good = UnitData::frame(false, &[b"abc".to_vec()]);
        let mut long = good.as_bytes().to_vec();
        long.extend_from_slice(&[0, 0, 0, 9, 1]);
        let empty_item = [0, 0, 0, 0, 0];
        let unknown_flag = [2];
        for frame in [&long[..], &empty_item, &unknown_flag, &[], &good.as_bytes()[..4]] {
            assert_eq!(Batch::decode(frame), None, "{frame:?}");
        }
    }

    #[test]
    fn data_above_the_limit_is_not_decoded() {
        let mut encoded = Compact(FRAME_LIMIT_BYTES as u32 + 1).encode();
        encoded.resize(encoded.len() + FRAME_LIMIT_BYTES + 1, 0);
        assert!(UnitData::decode(&mut &encoded[..]).is_err());
    }
}
