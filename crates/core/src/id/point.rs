//! Positions in transactions.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::TransactionId;
use crate::{Decode, Encode};

/// An output of a transaction. Displayed as `txid:out_idx`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct OutPoint {
    /// The transaction.
    pub txid: TransactionId,
    /// The output's position, from 0.
    pub out_idx: u64,
}

impl fmt::Display for OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.out_idx)
    }
}

/// An input of a transaction. Displayed as `txid:in_idx`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct InPoint {
    /// The transaction.
    pub txid: TransactionId,
    /// The input's position, from 0.
    pub in_idx: u64,
}

impl fmt::Display for InPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.in_idx)
    }
}

/// Positions from `start` up to but not including `end`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct IdxRange {
    /// The first position.
    pub start: u64,
    /// The position after the last. A range from elsewhere may have it below `start`; such a
    /// range is empty.
    pub end: u64,
}

impl IdxRange {
    /// How many positions there are.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether `index` is in the range.
    #[must_use]
    pub const fn contains(self, index: u64) -> bool {
        self.start <= index && index < self.end
    }

    /// The positions, ascending. A range from elsewhere may be huge: look at [`Self::count`] first.
    pub fn iter(self) -> Range<u64> {
        self.start..self.end
    }
}

impl From<Range<u64>> for IdxRange {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// Neighbouring outputs of one transaction.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct OutPointRange {
    /// The transaction.
    pub txid: TransactionId,
    /// The positions of the outputs.
    pub idx_range: IdxRange,
}

impl OutPointRange {
    /// The out points, ascending. See [`IdxRange::iter`].
    pub fn iter(self) -> impl Iterator<Item = OutPoint> {
        let Self { txid, idx_range } = self;
        idx_range.iter().map(move |out_idx| OutPoint { txid, out_idx })
    }
}
