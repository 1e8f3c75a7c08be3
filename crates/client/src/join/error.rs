//! Why a join failed, in words that say what to do.

use std::fmt;

use moneta_core::config::PeersError;
use moneta_core::id::{FederationId, PeerId};
use moneta_core::url::ApiUrl;

use crate::query::CallFailure;

/// What was wrong with one guardian's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// Unavailable or refused: no config came.
    #[error("{0}")]
    Call(#[from] CallFailure),
    /// Refused: it serves another federation.
    #[error("answers for another federation, {0}")]
    OtherFederation(FederationId),
    /// Refused: its answer is no config.
    #[error("answered with something that is no config: {0}")]
    Malformed(String),
}

impl Trouble {
    /// Whether trying again cannot help.
    fn is_final(&self) -> bool {
        match self {
            Self::Call(failure) => matches!(failure, CallFailure::Refused { .. }),
            Self::OtherFederation(_) => true,
            Self::Malformed(_) => false,
        }
    }
}

/// A guardian, and what was wrong with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its number.
    pub peer: PeerId,
    /// Its name, where it is known already.
    pub name: Option<String>,
    /// Where it was asked.
    pub url: ApiUrl,
    /// What was wrong.
    pub trouble: Trouble,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} at {}: {}", self.url, self.trouble),
            None => write!(f, "guardian {} at {}: {}", self.peer, self.url, self.trouble),
        }
    }
}

/// Why an attempt to join failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// No guardian of the invite gave the config of the invited federation.
    Invite {
        /// Each of them.
        witnesses: Vec<Witness>,
    },
    /// Too few guardians of the federation agree on its config.
    Threshold {
        /// How many must agree.
        needed: usize,
        /// How many do.
        agreeing: usize,
        /// Those without a usable answer.
        witnesses: Vec<Witness>,
    },
    /// The config that has the invited id makes no federation.
    Peers(PeersError),
}

impl JoinError {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Invite { witnesses } => {
                witnesses.iter().all(|witness| witness.trouble.is_final())
            }
            Self::Threshold { .. } => false,
            Self::Peers(_) => true,
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        let secret = |witness: &Witness| {
            matches!(witness.trouble, Trouble::Call(CallFailure::Refused { code: 401, .. }))
        };
        let other = |witness: &Witness| matches!(witness.trouble, Trouble::OtherFederation(_));
        match self {
            Self::Invite { witnesses } if witnesses.iter().any(secret) => {
                "the federation is private: ask a guardian for an invite that carries its secret"
            }
            Self::Invite { witnesses } if witnesses.iter().any(other) => {
                "the invite does not fit these guardians: ask for a new one"
            }
            Self::Invite { .. } => {
                "check your connection; if it is fine, ask for an invite that names more guardians"
            }
            Self::Threshold { .. } => {
                "check your connection; if it is fine, the guardians above must come back first"
            }
            Self::Peers(_) => "the federation is set up wrongly; tell its guardians",
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let witnesses = match self {
            Self::Invite { witnesses } => {
                f.write_str("no guardian of the invite gave the federation's config")?;
                witnesses.as_slice()
            }
            Self::Threshold { needed, agreeing, witnesses } => {
                write!(f, "{agreeing} guardians agree on the config, {needed} must")?;
                witnesses.as_slice()
            }
            Self::Peers(error) => {
                write!(f, "the federation's config is not usable: {error}")?;
                &[]
            }
        };
        for (index, witness) in witnesses.iter().enumerate() {
            write!(f, "{} {witness}", if index == 0 { ":" } else { ";" })?;
        }
        write!(f, " ({})", self.advice())
    }
}

impl std::error::Error for JoinError {}
