//! The recovery log as a wallet reads it: how long it is, which slices come next, which are true.
//!
//! Source: docs/protocol/mint.md, sections 3.6 and 3.11.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::hashes::{Hash as _, sha256};
use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use moneta_core::{Decode, Encode};
use serde::Deserialize as _;
use serde_json::Value;

use super::slice_text;
use crate::words::{MAX_SLICE_ITEMS, RecoveryItem, SliceRange};

/// Slices under way or kept at once: some 1.3 MB each on the wire, 0.3 MB kept.
const WINDOW: u64 = 8;

/// How far the log is scanned and asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Progress {
    /// The first item not scanned.
    pub(super) scanned: u64,
    /// The first item nobody fetches yet.
    pub(super) claimed: u64,
    /// Where recovery ends.
    pub(super) total: u64,
}

impl Progress {
    /// Takes the next slice to be fetched, if the window has room for one.
    pub(super) fn claim(&mut self) -> Option<Position> {
        let window_end = self.scanned.saturating_add(WINDOW * MAX_SLICE_ITEMS);
        if self.claimed >= self.total.min(window_end) {
            return None;
        }
        let position = Position { next: self.claimed, total: self.total };
        self.claimed = position.slice().1;
        Some(position)
    }
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// The first item not looked at.
    pub next: u64,
    /// Where recovery ends.
    pub total: u64,
}

impl Position {
    pub(super) fn slice(self) -> SliceRange {
        let end = self.next.saturating_add(MAX_SLICE_ITEMS).min(self.total);
        SliceRange(self.next, end)
    }
}

/// The length of the log that recovery goes by, if the answers tell: one that a threshold of guardians
/// has not passed, and that more than can be faulty have reached.
///
/// The second says that the log does get there. The first says that nothing is left out: a note that
/// this wallet ever got had signatures of a threshold, so at least one honest guardian is both among
/// those and among the ones that have not passed. Equal answers would say as much, but the log
/// grows all the time.
pub(super) fn agreed_length(
    answers: &BTreeMap<PeerId, Value>,
    size: FederationSize,
) -> Option<u64> {
    let mut counts: Vec<u64> = answers.values().filter_map(Value::as_u64).collect();
    counts.sort_unstable();
    let length = *counts.get(size.threshold().checked_sub(1)?)?;
    let reached = counts.iter().filter(|count| **count >= length).count();
    (reached > size.max_faulty()).then_some(length)
}

/// The items of a slice, if they are those that the federation agrees on. `answer` is the list, or its JSON
/// text in a string.
pub(super) fn parse_slice(
    position: Position,
    hash: &sha256::Hash,
    answer: &Value,
) -> Option<Vec<RecoveryItem>> {
    let items: Vec<RecoveryItem> = match answer {
        // Read in one pass; as a value it would take ten times the memory and most of the time.
        Value::String(text) => slice_text::read(text)?,
        list => Vec::deserialize(list).ok()?,
    };
    let SliceRange(start, end) = position.slice();
    // Hashed as one encoding: the count and the items.
    let fits = items.len() as u64 == end - start && sha256::Hash::hash(&items.to_bytes()) == *hash;
    fits.then_some(items)
}

/// The slice that was judged last: reading ten thousand items once is enough. Only a matter of speed.
#[derive(Debug, Default)]
pub(super) struct Judged(Mutex<Option<JudgedSlice>>);

#[derive(Debug)]
struct JudgedSlice {
    position: Position,
    hash: sha256::Hash,
    items: Vec<RecoveryItem>,
}

impl Judged {
    /// Judges an answer; keeps its items if it is good.
    pub(super) fn take_in(&self, position: Position, hash: sha256::Hash, answer: &Value) -> bool {
        let items = parse_slice(position, &hash, answer);
        let is_good = items.is_some();
        if let Some(items) = items {
            *self.slot() = Some(JudgedSlice { position, hash, items });
        }
        is_good
    }

    /// The items judged to have this hash, unless others were judged since.
    pub(super) fn take_out(
        &self,
        position: Position,
        hash: sha256::Hash,
    ) -> Option<Vec<RecoveryItem>> {
        let judged = self.slot().take()?;
        (judged.position == position && judged.hash == hash).then_some(judged.items)
    }

    /// A poisoned lock holds a whole slice or none.
    fn slot(&self) -> MutexGuard<'_, Option<JudgedSlice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn length_of_the_log_leaves_nothing_out_and_is_reached() {
        let length = |total: usize, counts: &[u64]| {
            let answers = (0..).map(PeerId::new).zip(counts.iter().map(|count| json!(count)));
            agreed_length(&answers.collect(), FederationSize::new(total).expect("a size"))
        };
        // Two of seven lie, one way or the other; the honest ones are at different points.
        assert_eq!(length(7, &[u64::MAX, u64::MAX, 100, 101, 102, 103, 104]), Some(104));
        assert_eq!(length(7, &[0, 0, 100, 101, 102, 103, 104]), Some(102));
        // A liar and a guardian that was away for long: not yet, the fourth must tell.
        assert_eq!(length(4, &[0, 50, 101]), None);
        assert_eq!(length(4, &[0, 50, 101, 101]), Some(101));
        assert_eq!(length(4, &[101, 101, 101]), Some(101));
        assert_eq!(length(4, &[101, 101]), None);
        assert_eq!(length(1, &[9]), Some(9));
    }

    #[test]
    fn no_slice_is_claimed_beyond_the_window_or_twice() {
        let total = 20 * MAX_SLICE_ITEMS + 1;
        let mut progress = Progress { scanned: 0, claimed: 0, total };
        let mut claimed = Vec::new();
        while let Some(position) = progress.claim() {
            claimed.push(position.next);
        }
        let window = (0..WINDOW).map(|slice| slice * MAX_SLICE_ITEMS);
        assert_eq!(claimed, window.collect::<Vec<_>>());
        progress.scanned = 19 * MAX_SLICE_ITEMS;
        progress.claimed = 19 * MAX_SLICE_ITEMS;
        assert_eq!(progress.claim().map(Position::slice), Some(SliceRange(190_000, 200_000)));
        assert_eq!(progress.claim().map(Position::slice), Some(SliceRange(200_000, total)));
        assert_eq!(progress.claim(), None);
    }
}
