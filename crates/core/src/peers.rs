//! How many guardians a federation has, and how many of them must agree.
//!
//! Source: docs/protocol/core.md, section 2.3.

use crate::PeerId;

/// The number of guardians, at least one. Guardians are numbered from 0 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FederationSize(u16);

impl FederationSize {
    /// A federation of `total` guardians. `None` for zero and for more than ids can number.
    #[must_use]
    pub fn new(total: usize) -> Option<Self> {
        u16::try_from(total).ok().filter(|total| *total > 0).map(Self)
    }

    /// Whether a new federation may have this size: one guardian, or at least four. Two and three
    /// would tolerate no fault and yet fail more often than one.
    #[must_use]
    pub fn is_permitted_for_setup(self) -> bool {
        self.0 == 1 || self.0 >= 4
    }

    /// All guardians.
    #[must_use]
    pub fn total(self) -> usize {
        usize::from(self.0)
    }

    /// How many guardians may be faulty.
    #[must_use]
    pub fn max_faulty(self) -> usize {
        (self.total() - 1) / 3
    }

    /// The least number of guardians of which one is surely honest.
    #[must_use]
    pub fn one_honest(self) -> usize {
        self.max_faulty() + 1
    }

    /// How many guardians decide.
    #[must_use]
    pub fn threshold(self) -> usize {
        self.total() - self.max_faulty()
    }

    /// The degree of the polynomials that key shares lie on.
    #[must_use]
    pub fn degree(self) -> usize {
        self.threshold() - 1
    }

    /// The ids of all guardians, ascending.
    pub fn peer_ids(self) -> impl ExactSizeIterator<Item = PeerId> + Clone {
        (0..self.0).map(PeerId::new)
    }

    /// Whether `peer` is one of the guardians.
    #[must_use]
    pub fn contains(self, peer: PeerId) -> bool {
        peer.index() < self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_table_have_the_thresholds_of_the_table() {
        for (total, faulty, threshold) in
            [(1, 0, 1), (4, 1, 3), (5, 1, 4), (6, 1, 5), (7, 2, 5), (10, 3, 7), (13, 4, 9)]
        {
            let size = FederationSize::new(total).expect("not zero");
            assert_eq!((size.max_faulty(), size.threshold()), (faulty, threshold));
        }
    }

    #[test]
    fn two_and_three_guardians_cannot_be_set_up() {
        let permitted = |total| FederationSize::new(total).map(|s| s.is_permitted_for_setup());
        assert_eq!(permitted(0), None);
        assert_eq!((permitted(1), permitted(4)), (Some(true), Some(true)));
        assert_eq!((permitted(2), permitted(3)), (Some(false), Some(false)));
    }
}
