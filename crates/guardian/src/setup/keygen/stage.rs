//! The steps of key generation, and why it fails.

use moneta_core::{Decode, Encode, ModuleKind, PeerId};

use crate::setup::config::GuardianConfig;

/// A step of key generation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Stage {
    /// Comparing setup codes.
    Hello,
    /// Public keys and commitments to dealings.
    Contribution,
    /// Dealings.
    Dealing,
    /// Comparing what was heard.
    Echo,
    /// Secret shares.
    Shares,
    /// Naming bad shares.
    Complaints,
    /// Answering complaints.
    Answers,
    /// Comparing configurations.
    Finished,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Contribution,
        Self::Dealing,
        Self::Echo,
        Self::Shares,
        Self::Complaints,
        Self::Answers,
        Self::Finished,
    ];

    /// Position in the order, from 0.
    pub fn number(self) -> usize {
        self as usize
    }
}

/// Where key generation stands.
#[derive(Debug)]
pub enum Progress {
    /// Messages of this stage are missing from these guardians.
    Waiting {
        /// The stage.
        stage: Stage,
        /// Who is awaited.
        missing: Vec<PeerId>,
    },
    /// Everybody has the same configuration.
    Done(Box<GuardianConfig>),
}

/// Why key generation failed. Setup has to be started anew, without whoever is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// Guardians entered different sets of setup codes.
    #[error("guardians {peers:?} have entered other setup codes than this one; compare them")]
    OtherCodes {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// A guardian sent something malformed.
    #[error("guardian {peer} sent a malformed {stage:?} message: {reason}")]
    Malformed {
        /// Who.
        peer: PeerId,
        /// When.
        stage: Stage,
        /// What.
        reason: String,
    },
    /// A guardian sent two different messages for one stage.
    #[error("guardian {peer} sent two different {stage:?} messages")]
    TwoMessages {
        /// Who.
        peer: PeerId,
        /// When.
        stage: Stage,
    },
    /// A guardian revealed other commitments than it had fixed.
    #[error("guardian {peer} revealed another dealing than it had committed to")]
    BrokenCommitment {
        /// Who.
        peer: PeerId,
    },
    /// A guardian told different guardians different things.
    #[error("guardian {peer} told guardian {witness} something else than this guardian")]
    TwoStories {
        /// Who.
        peer: PeerId,
        /// Who heard the other story.
        witness: PeerId,
    },
    /// A guardian dealt a bad share and did not mend it.
    #[error("guardian {peer} dealt guardian {accuser} a share that does not verify")]
    BadShares {
        /// Who.
        peer: PeerId,
        /// Who received it.
        accuser: PeerId,
    },
    /// A guardian gave up, for its own reason.
    #[error("guardian {peer} gave up: {reason:?}")]
    GaveUp {
        /// Who.
        peer: PeerId,
        /// What it said; not to be trusted.
        reason: String,
    },
    /// Guardians arrived at different configurations.
    #[error("guardians {peers:?} arrived at another configuration than this one")]
    OtherConfig {
        /// Who.
        peers: Vec<PeerId>,
    },
    /// A module could not be set up.
    #[error("module {kind}: {reason}")]
    Module {
        /// Which.
        kind: ModuleKind,
        /// Why.
        reason: String,
    },
    /// Broken: the dealings do not give keys.
    #[error("key generation does not add up: {0}")]
    Keys(String),
}

pub(super) fn malformed(peer: PeerId, stage: Stage, reason: impl ToString) -> KeygenError {
    KeygenError::Malformed { peer, stage, reason: reason.to_string() }
}
