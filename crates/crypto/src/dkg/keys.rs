//! From dealings and shares to keys.

use std::collections::BTreeMap;

use super::polynomial::point;
use super::{Dealer, Dealing, DealtShares, Shape, ShapeError};
use crate::curve::G2;
use crate::scalar::Scalar;
use crate::tbs::{AggregatePublicKey, PublicKeyShare, SecretKeyShare};

/// One key of a federation, as one guardian holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdKey {
    /// The federation's public key.
    pub aggregate: AggregatePublicKey,
    /// Every guardian's public key share.
    pub public_shares: BTreeMap<u64, PublicKeyShare>,
    /// This guardian's secret.
    pub secret_share: SecretKeyShare,
}

/// Why a ceremony gives no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Refused: fewer dealers than the threshold, so there may be no honest one among them.
    #[error("{dealers} dealers, but a threshold of {threshold}")]
    TooFewDealers {
        /// Dealers given.
        dealers: usize,
        /// Dealers needed.
        threshold: usize,
    },
    /// Refused: there is no such guardian.
    #[error("no guardian has the index {peer}")]
    UnknownPeer {
        /// The index.
        peer: u64,
    },
    /// Refused: the dealing belongs to a ceremony of another shape.
    #[error("the dealing of guardian {dealer} has another shape")]
    OtherShape {
        /// The dealer.
        dealer: u64,
    },
    /// Broken: shares that were not verified, or do not belong to these dealings.
    #[error("the shares for key {key} do not add up to the public key share")]
    SharesDoNotMatch {
        /// Index of the key.
        key: usize,
    },
    /// Refused: the dealers' constants cancel. Impossible if one dealer is honest and the hashes were
    /// checked.
    #[error("the aggregate key {key} is zero")]
    ZeroKey {
        /// Index of the key.
        key: usize,
    },
}

/// Adds up what all qualified dealers dealt to guardian `own`. One result per key, in order.
///
/// The dealings must have passed [`Dealing::matches`] and the shares [`Dealing::verify_shares`], and
/// all guardians must use the same dealers.
/// Errors: every variant of [`FinishError`].
pub fn finish(
    shape: Shape,
    own: u64,
    dealt: &BTreeMap<u64, (Dealing, DealtShares)>,
) -> Result<Vec<ThresholdKey>, FinishError> {
    if dealt.len() < shape.threshold() {
        let (dealers, threshold) = (dealt.len(), shape.threshold());
        return Err(FinishError::TooFewDealers { dealers, threshold });
    }
    if let Some(peer) = dealt.keys().copied().chain([own]).find(|peer| !shape.contains(*peer)) {
        return Err(FinishError::UnknownPeer { peer });
    }
    for (dealer, (dealing, shares)) in dealt {
        if dealing.shape() != shape || shares.0.len() != shape.keys() {
            return Err(FinishError::OtherShape { dealer: *dealer });
        }
    }
    (0..shape.keys()).map(|key| finish_key(shape, own, dealt, key)).collect()
}

fn finish_key(
    shape: Shape,
    own: u64,
    dealt: &BTreeMap<u64, (Dealing, DealtShares)>,
    key: usize,
) -> Result<ThresholdKey, FinishError> {
    let mut secret = Scalar::from(0);
    let mut commitments = vec![G2::default(); shape.threshold()];
    for (dealing, shares) in dealt.values() {
        secret = secret.plus(&shares.0[key]);
        for (sum, commitment) in commitments.iter_mut().zip(&dealing.commitments()[key]) {
            *sum = sum.plus(commitment);
        }
    }
    if commitments[0].is_infinity() {
        return Err(FinishError::ZeroKey { key });
    }
    if G2::generator().times(&secret) != G2::evaluate(&commitments, point(own)) {
        return Err(FinishError::SharesDoNotMatch { key });
    }
    let public_share = |peer| PublicKeyShare(G2::evaluate(&commitments, point(peer)));
    Ok(ThresholdKey {
        aggregate: AggregatePublicKey(commitments[0]),
        public_shares: shape.peers().map(|peer| (peer, public_share(peer))).collect(),
        secret_share: SecretKeyShare::from(secret),
    })
}

/// The keys of a federation of one guardian.
///
/// `seed` is 32 uniformly random secret bytes, used for nothing else.
/// Errors: [`ShapeError`] if `keys` is 0 or above the limit.
pub fn deal_locally(keys: usize, seed: &[u8; 32]) -> Result<Vec<ThresholdKey>, ShapeError> {
    let mut of_guardian = deal_trusted(Shape::new(1, 1, keys)?, seed);
    Ok(of_guardian.pop().unwrap_or_default())
}

/// The keys of all guardians from one seed, by guardian.
///
/// For simulations and tests: whoever knows the seed knows every secret of the federation.
pub fn deal_trusted(shape: Shape, seed: &[u8; 32]) -> Vec<Vec<ThresholdKey>> {
    let dealer = Dealer::from_seed(shape, 0, &[0; 32], seed);
    let public: Vec<(AggregatePublicKey, BTreeMap<u64, PublicKeyShare>)> = dealer
        .dealing()
        .commitments()
        .iter()
        .map(|row| {
            let share = |peer| (peer, PublicKeyShare(G2::evaluate(row, point(peer))));
            (AggregatePublicKey(row[0]), shape.peers().map(share).collect())
        })
        .collect();
    shape
        .peers()
        .filter_map(|peer| dealer.shares_for(peer))
        .map(|shares| {
            shares
                .0
                .iter()
                .zip(&public)
                .map(|(share, (aggregate, public_shares))| ThresholdKey {
                    aggregate: *aggregate,
                    public_shares: public_shares.clone(),
                    secret_share: SecretKeyShare::from(share.clone()),
                })
                .collect()
        })
        .collect()
}
