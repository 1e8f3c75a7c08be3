//! Sessions: the ordered log of everything a federation accepted, cut into numbered, signed parts.
//!
//! Only accepted items are in the log, in the order they were processed. A session below the
//! session count is complete and never changes; the one at the count is pending; later ones are
//! not begun.
//!
//! Source: docs/protocol/core.md, section 4.

mod merkle;
mod signed;

pub use merkle::{MerkleTree, merkle_root};
pub use signed::{SessionHeader, SessionSignatureError, SignedSessionOutcome, SignerRule};

use bitcoin::hashes::Hash;

use crate::{ConsensusItemEnvelope, Decode, Encode, PeerId, SessionIndex, Transaction};

/// What a guardian proposes to the federation. Open: unknown variants are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ConsensusItem {
    /// A client's transaction.
    Transaction(Transaction),
    /// Something a module of the guardian wants agreed.
    Module(ConsensusItemEnvelope),
    /// A variant this code does not know.
    #[codec(unknown)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// An item that was accepted, with the guardian that proposed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct AcceptedItem {
    /// The item.
    pub item: ConsensusItem,
    /// Who proposed it.
    pub peer: PeerId,
}

impl AcceptedItem {
    /// Returns the item's leaf in the session's merkle tree.
    pub fn leaf(&self) -> [u8; 32] {
        self.consensus_hash().to_byte_array()
    }
}

/// All accepted items of one finished session, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SessionOutcome {
    /// The items.
    pub items: Vec<AcceptedItem>,
}

impl SessionOutcome {
    /// Returns the header that guardians sign for this outcome as session `index`.
    pub fn header(&self, index: SessionIndex) -> SessionHeader {
        SessionHeader { index, root: merkle_root(self.items.iter().map(AcceptedItem::leaf)) }
    }

    /// Returns the lengths below that of the whole, longest first, at which the items have the root
    /// of the whole: the tree doubles the last node of an odd level, so whoever hands on a signed
    /// outcome can repeat its tail without touching a signature.
    ///
    /// Which of them was signed, the signatures do not tell. Empty unless a tail is repeated.
    #[must_use]
    pub fn shorter_with_same_root(&self) -> Vec<usize> {
        let length = self.items.len();
        // As many leaves as the tree has with all repetitions written out. A list of no more than
        // half of them has a tree of fewer levels.
        let leaves = length.next_power_of_two();
        let is_same = |shorter: &usize| {
            let same_at = |leaf| {
                let (ours, its) = (source_of_leaf(length, leaf), source_of_leaf(*shorter, leaf));
                ours == its || self.items[ours] == self.items[its]
            };
            (*shorter..leaves).all(same_at)
        };
        (leaves / 2 + 1..length).rev().filter(is_same).collect()
    }
}

/// Which item stands at `leaf` of the tree over `length` items, with all repetitions written out.
fn source_of_leaf(length: usize, leaf: usize) -> usize {
    let levels = length.next_power_of_two().trailing_zeros();
    (0..levels).rev().fold(0, |node, level| {
        let last = length.div_ceil(1 << level) - 1;
        (2 * node + (leaf >> level & 1)).min(last)
    })
}

/// How far a session is, as `session_status` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum SessionStatus {
    /// Not begun.
    Initial,
    /// Running, with the items accepted so far.
    Pending(Vec<AcceptedItem>),
    /// Finished.
    Complete(SessionOutcome),
}

/// How far a session is, as `signed_session_status` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum SessionStatusV2 {
    /// Not begun.
    Initial,
    /// Running, with the items accepted so far.
    Pending(Vec<AcceptedItem>),
    /// Finished, with the guardians' signatures.
    Complete(SignedSessionOutcome),
}

impl From<SessionStatusV2> for SessionStatus {
    fn from(status: SessionStatusV2) -> Self {
        match status {
            SessionStatusV2::Initial => Self::Initial,
            SessionStatusV2::Pending(items) => Self::Pending(items),
            SessionStatusV2::Complete(signed) => Self::Complete(signed.session_outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModuleInstanceId;

    fn outcome(numbers: &[u8]) -> SessionOutcome {
        let item = |number: &u8| AcceptedItem {
            item: ConsensusItem::Module(ConsensusItemEnvelope::from_raw(
                ModuleInstanceId::new(0),
                vec![*number],
            )),
            peer: PeerId::new(0),
        };
        SessionOutcome { items: numbers.iter().map(item).collect() }
    }

    /// Compared with all prefixes of all short lists over two values.
    #[test]
    fn shorter_lists_with_the_same_root_are_found() {
        for length in 0..=9_u32 {
            for bits in 0..1_u32 << length {
                let numbers: Vec<u8> = (0..length).map(|i| (bits >> i & 1) as u8).collect();
                let whole = outcome(&numbers);
                let root =
                    |items: &[AcceptedItem]| merkle_root(items.iter().map(AcceptedItem::leaf));
                let same = |shorter: &usize| root(&whole.items[..*shorter]) == root(&whole.items);
                let expected: Vec<usize> = (0..whole.items.len()).rev().filter(same).collect();
                assert_eq!(whole.shorter_with_same_root(), expected, "{numbers:?}");
            }
        }
    }
}
