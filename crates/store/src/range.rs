//! Ranges of keys.

use std::cmp::Ordering;
use std::ops::Bound;

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

impl Order {
    /// Compares two keys so that the one a scan yields first is the lesser.
    pub(crate) fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Self::Ascending => left.cmp(right),
            Self::Descending => right.cmp(left),
        }
    }
}

/// A half-open range of keys: from a first key, included, to an end key, excluded, or to the end
/// of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }

    /// The keys that begin with `prefix`, `prefix` itself included.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = successor_of_prefix(&start);
        Self { start, end }
    }

    /// The keys from `start`, included, to `end`, excluded. Empty if `start` is not below `end`.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// The keys from `start`, included, to the end.
    pub fn starting_at(start: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: None }
    }

    /// The first key of the range.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key behind the range, if it has an end.
    pub fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end().is_none_or(|end| key < end)
    }

    /// Whether no key at all can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end().is_some_and(|end| end <= self.start.as_slice())
    }

    /// The range of the same keys behind `prefix`.
    pub(crate) fn scoped(self, prefix: &[u8]) -> Self {
        let start = [prefix, &self.start].concat();
        let end = match self.end {
            Some(end) => Some([prefix, &end].concat()),
            None => successor_of_prefix(prefix),
        };
        Self { start, end }
    }

    /// The bounds in the form of the standard maps, which panic on a range whose start lies above
    /// its end: an inverted range becomes the empty range at its start.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = self.start.as_slice();
        let end = match self.end() {
            Some(end) => Bound::Excluded(end.max(start)),
            None => Bound::Unbounded,
        };
        (Bound::Included(start), end)
    }
}

/// The least key above every key that begins with `prefix`. There is none for the empty prefix and
/// for one of `0xff` bytes only.
fn successor_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_range_ends_behind_the_last_key_with_the_prefix() {
        assert_eq!(KeyRange::prefix([1, 2]), KeyRange::between([1, 2], [1, 3]));
        assert_eq!(KeyRange::prefix([1, 0xff]), KeyRange::between([1, 0xff], [2]));
        assert_eq!(KeyRange::prefix([0xff, 0xff]), KeyRange::starting_at([0xff, 0xff]));
        assert_eq!(KeyRange::prefix([]), KeyRange::all());
    }

    #[test]
    fn scoped_range_stays_inside_its_scope() {
        assert_eq!(KeyRange::all().scoped(&[7]), KeyRange::prefix([7]));
        assert_eq!(KeyRange::all().scoped(&[0xff]), KeyRange::prefix([0xff]));
        assert_eq!(KeyRange::starting_at([3]).scoped(&[7]), KeyRange::between([7, 3], [8]));
        assert_eq!(KeyRange::prefix([0xff]).scoped(&[7]), KeyRange::between([7, 0xff], [8]));
    }

    #[test]
    fn inverted_range_is_empty() {
        let range = KeyRange::between([5], [3]);
        assert!(range.is_empty());
        assert!(!range.contains(&[4]));
        assert_eq!(range.bounds(), (Bound::Included(&[5][..]), Bound::Excluded(&[5][..])));
    }
}
