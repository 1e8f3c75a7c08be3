//! What a dealer publishes, and everything that is checked against it.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::polynomial::point;
use super::{DealtShares, Shape};
use crate::curve::G2;
use crate::text::ReadCurveError;

/// Separates commitment hashes from every other use of SHA-256.
const DEALING_TAG: &[u8] = b"moneta/dkg/dealing/v1";
/// Separates transcript hashes likewise.
const TRANSCRIPT_TAG: &[u8] = b"moneta/dkg/transcript/v1";

/// A dealer's commitments: for each key, each coefficient of its polynomial times the generator of
/// G2, lowest first.
///
/// Bytes: compressed points of 96 bytes, key by key, no framing; the shape fixes the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Dealing {
    shape: Shape,
    commitments: Vec<Vec<G2>>,
}

/// What a dealer publishes before anybody's dealing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DealingHash(pub [u8; 32]);

/// Why bytes are not a dealing. The dealer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DealingError {
    /// Refused: not as many points as the ceremony's shape asks for.
    #[error("the dealing has the wrong length")]
    WrongLength,
    /// Refused: a commitment is no point of the group.
    #[error("commitment {degree} of key {key}: {cause}")]
    BadPoint {
        /// Index of the key.
        key: usize,
        /// Index of the coefficient.
        degree: usize,
        /// What is wrong with the point.
        cause: ReadCurveError,
    },
    /// Refused: the dealer adds nothing to a key, which no honest dealer does.
    #[error("the constant coefficient of key {key} is zero")]
    ZeroConstant {
        /// Index of the key.
        key: usize,
    },
}

/// Why a receiver does not accept shares. The receiver then complains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// Refused: not one scalar per key.
    #[error("the shares have the wrong length")]
    WrongLength,
    /// Refused: a share is not below the group order.
    #[error("the share of key {key} is not below the group order")]
    NonCanonical {
        /// Index of the key.
        key: usize,
    },
    /// Refused: a share is not on the committed polynomial.
    #[error("the share of key {key} does not match the dealer's commitments")]
    Mismatch {
        /// Index of the key.
        key: usize,
    },
    /// Refused: there is no such guardian.
    #[error("no guardian has this index")]
    UnknownPeer,
}

/// Who is at fault when a guardian complained about its shares and the dealer revealed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The revealed shares are right, so the complaint has no ground any more. The accuser uses these
    /// shares. (Whether the first ones were wrong, nobody else can know.)
    Answered(DealtShares),
    /// The dealer could not show shares that match its own commitments: it is disqualified.
    DealerGuilty(ShareError),
}

impl Dealing {
    /// The dimensions must be those of the shape.
    pub(super) fn new(shape: Shape, commitments: Vec<Vec<G2>>) -> Self {
        debug_assert_eq!(commitments.len(), shape.keys());
        debug_assert!(commitments.iter().all(|row| row.len() == shape.threshold()));
        Self { shape, commitments }
    }

    /// Reads a dealing of a ceremony with the given shape.
    ///
    /// Errors: every variant of [`DealingError`].
    pub fn from_bytes(shape: Shape, bytes: &[u8]) -> Result<Self, DealingError> {
        let (points, rest) = bytes.as_chunks::<{ G2::LEN }>();
        if points.len() != shape.keys() * shape.threshold() || !rest.is_empty() {
            return Err(DealingError::WrongLength);
        }
        let mut commitments = Vec::with_capacity(shape.keys());
        for (key, row) in points.chunks(shape.threshold()).enumerate() {
            let read = |(degree, bytes): (usize, &[u8; G2::LEN])| {
                G2::from_compressed(bytes).map_err(|cause| DealingError::BadPoint {
                    key,
                    degree,
                    cause: cause.into(),
                })
            };
            let row: Vec<G2> = row.iter().enumerate().map(read).collect::<Result<_, _>>()?;
            if row[0].is_infinity() {
                return Err(DealingError::ZeroConstant { key });
            }
            commitments.push(row);
        }
        Ok(Self { shape, commitments })
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.commitments.iter().flatten().flat_map(|point| point.to_compressed()).collect()
    }

    /// The hash the dealer publishes first. It is bound to the dealer, the shape and the ceremony,
    /// so that nobody can publish another's hash as its own.
    pub fn hash(&self, dealer: u64, context: &[u8; 32]) -> DealingHash {
        let hash = Sha256::new()
            .chain_update(DEALING_TAG)
            .chain_update(context)
            .chain_update(self.shape.to_bytes())
            .chain_update(dealer.to_be_bytes())
            .chain_update(self.to_bytes());
        DealingHash(hash.finalize().into())
    }

    /// Whether this is what the dealer published the hash of.
    pub fn matches(&self, dealer: u64, context: &[u8; 32], published: &DealingHash) -> bool {
        self.hash(dealer, context) == *published
    }

    /// Checks the shares a guardian got from this dealer.
    ///
    /// Errors: `WrongLength`, `Mismatch`, `UnknownPeer`.
    pub fn verify_shares(&self, receiver: u64, shares: &DealtShares) -> Result<(), ShareError> {
        if !self.shape.contains(receiver) {
            return Err(ShareError::UnknownPeer);
        }
        if shares.0.len() != self.commitments.len() {
            return Err(ShareError::WrongLength);
        }
        for (key, (row, share)) in self.commitments.iter().zip(&shares.0).enumerate() {
            if G2::generator().times(share) != G2::evaluate(row, point(receiver)) {
                return Err(ShareError::Mismatch { key });
            }
        }
        Ok(())
    }

    /// Judges a complaint by `accuser` on the bytes this dealer revealed in answer to it.
    ///
    /// Everyone holds the same dealing and sees the same bytes, so everyone comes to the same verdict.
    /// A dealer that reveals nothing in time counts as one that revealed no bytes.
    /// Errors: `UnknownPeer` if there is no such accuser; the complaint is void then.
    pub fn judge(&self, accuser: u64, revealed: &[u8]) -> Result<Verdict, ShareError> {
        if !self.shape.contains(accuser) {
            return Err(ShareError::UnknownPeer);
        }
        let checked = DealtShares::from_bytes(self.shape, revealed).and_then(|shares| {
            self.verify_shares(accuser, &shares)?;
            Ok(shares)
        });
        Ok(match checked {
            Ok(shares) => Verdict::Answered(shares),
            Err(error) => Verdict::DealerGuilty(error),
        })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn commitments(&self) -> &[Vec<G2>] {
        &self.commitments
    }
}

impl fmt::Debug for Dealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dealing({:?})", self.shape)
    }
}

/// A hash over all dealings of a ceremony, by dealer.
///
/// Guardians compare it before shares travel: a dealer that tells different guardians different
/// things would otherwise only be noticed when signatures fail.
pub fn transcript_hash(context: &[u8; 32], dealings: &BTreeMap<u64, Dealing>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(TRANSCRIPT_TAG);
    hash.update(context);
    hash.update((dealings.len() as u64).to_be_bytes());
    for (dealer, dealing) in dealings {
        hash.update(dealing.hash(*dealer, context).0);
    }
    hash.finalize().into()
}
