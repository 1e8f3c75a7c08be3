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
