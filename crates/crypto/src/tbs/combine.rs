//! Combining shares of a threshold of guardians.
//!
//! The weights of shares are fractions of small numbers: those of the guardians 1, 2 and 3 of a federation
//! are 3, -3 and 1. A multiple by a few bits costs a small part of one by a full scalar, and a wallet
//! combines as many shares as it gets notes, so signatures are combined by the numerators over a common
//! denominator, which mostly is 1. Where the numbers grow too large, in federations of dozens, the
//! weights are scalars.
//!
//! Source: docs/protocol/mint.md, section 1.3.

use std::collections::BTreeMap;

use super::{
    AggregatePublicKey, BlindedMessage, BlindedSignature, BlindedSignatureShare, PublicKeyShare,
    verify_blinded, verify_share_batch,
};
use crate::curve::{G1, G2};
use crate::scalar::Scalar;

/// Why shares were not combined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// Refused: no shares at all, or a threshold of zero.
    #[error("there is nothing to combine")]
    Empty,
    /// Refused: peer indices are at most `u64::MAX - 1`.
    #[error("the peer index is out of range")]
    PeerOutOfRange,
    /// Unavailable: not enough valid shares. More shares may help, those of `bad_peers` will not.
    #[error("{valid} valid shares of {threshold}; bad shares from peers {bad_peers:?}")]
    TooFew {
        /// Valid shares at hand.
        valid: usize,
        /// Valid shares needed.
        threshold: usize,
        /// Peers whose shares are wrong, or that have no public key share.
        bad_peers: Vec<u64>,
    },
    /// Broken: each share is valid, yet the result is not. The public keys do not belong together.
    #[error("valid shares combine to an invalid signature: the public keys are inconsistent")]
    InconsistentKeys,
}

/// A combined signature that verifies, and who sent wrong shares on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The signature; it verifies under the aggregate key.
    pub signature: BlindedSignature,
    /// Peers found to have sent wrong shares, ascending. Empty in the good case, where shares are
    /// not checked one by one.
    pub bad_peers: Vec<u64>,
}

/// Combines signature shares, keyed by peer index, without any check.
///
/// The caller passes exactly a threshold of shares: fewer give a wrong signature, more give the same
/// one. A single share comes back unchanged.
/// Errors: `Empty`, `PeerOutOfRange`.
pub fn combine(
    shares: &BTreeMap<u64, BlindedSignatureShare>,
) -> Result<BlindedSignature, CombineError> {
    let points = points(shares.keys().copied())?;
    let shares = shares.values().map(|share| share.0);
    if let Some(weights) = SmallWeights::at_zero(&points) {
        return Ok(BlindedSignature(weights.sum(shares)));
    }
    let terms: Vec<_> = shares.zip(lagrange_at_zero(&points)).collect();
    Ok(BlindedSignature(G1::lincomb(&terms)))
}

/// The aggregate key of exactly a threshold of public key shares, keyed by peer index.
///
/// Errors: `Empty`, `PeerOutOfRange`.
pub fn combine_public_keys(
    shares: &BTreeMap<u64, PublicKeyShare>,
) -> Result<AggregatePublicKey, CombineError> {
    let weights = lagrange_at_zero(&points(shares.keys().copied())?);
    let terms: Vec<_> = shares.values().map(|share| share.0).zip(weights).collect();
    Ok(AggregatePublicKey(G2::lincomb(&terms)))
}

/// Combines the first `threshold` shares and checks the result once; only if that fails, checks the
/// shares one by one and combines the good ones.
///
/// Shares of peers without a public key share in `peer_keys` are not used and count as bad.
/// Errors: every variant of [`CombineError`].
pub fn combine_verified(
    message: &BlindedMessage,
    aggregate_key: &AggregatePublicKey,
    peer_keys: &BTreeMap<u64, PublicKeyShare>,
    threshold: usize,
    shares: &BTreeMap<u64, BlindedSignatureShare>,
) -> Result<Combined, CombineError> {
    if threshold == 0 || shares.is_empty() {
        return Err(CombineError::Empty);
    }
    let (known, unknown): (BTreeMap<u64, _>, BTreeMap<u64, _>) = shares
        .iter()
        .map(|(peer, share)| (*peer, *share))
        .partition(|(peer, _)| peer_keys.contains_key(peer));
    let mut bad_peers: Vec<u64> = unknown.into_keys().collect();
    if known.len() < threshold {
        return Err(CombineError::TooFew { valid: known.len(), threshold, bad_peers });
    }
    let attempt = combine(&first(threshold, &known))?;
    if verify_blinded(message, &attempt, aggregate_key) {
        return Ok(Combined { signature: attempt, bad_peers });
    }
    let (good, bad) = split_by_validity(message, peer_keys, known);
    if bad.is_empty() {
        return Err(CombineError::InconsistentKeys);
    }
    bad_peers.extend(bad);
    bad_peers.sort_unstable();
    if good.len() < threshold {
        return Err(CombineError::TooFew { valid: good.len(), threshold, bad_peers });
    }
    let signature = combine(&first(threshold, &good))?;
    if verify_blinded(message, &signature, aggregate_key) {
        Ok(Combined { signature, bad_peers })
    } else {
        Err(CombineError::InconsistentKeys)
    }
}

fn first<V: Copy>(count: usize, shares: &BTreeMap<u64, V>) -> BTreeMap<u64, V> {
    shares.iter().take(count).map(|(peer, share)| (*peer, *share)).collect()
}

/// The valid shares, and the peers of the others.
fn split_by_validity(
    message: &BlindedMessage,
    peer_keys: &BTreeMap<u64, PublicKeyShare>,
    shares: BTreeMap<u64, BlindedSignatureShare>,
) -> (BTreeMap<u64, BlindedSignatureShare>, Vec<u64>) {
    let with_keys: Vec<_> = shares
        .into_iter()
        .filter_map(|(peer, share)| peer_keys.get(&peer).map(|key| (peer, share, *key)))
        .collect();
    let items: Vec<_> = with_keys.iter().map(|(_, share, key)| (*key, *message, *share)).collect();
    let mut good = BTreeMap::new();
    let mut bad = Vec::new();
    for ((peer, share, _), valid) in with_keys.into_iter().zip(verify_share_batch(&items)) {
        if valid {
            good.insert(peer, share);
        } else {
            bad.push(peer);
        }
    }
    (good, bad)
}

/// Where guardians' shares stand: at `peer + 1`. The peers must differ.
///
/// Errors: `Empty`, `PeerOutOfRange`.
fn points(peers: impl Iterator<Item = u64>) -> Result<Vec<u64>, CombineError> {
    let point = |peer: u64| peer.checked_add(1).ok_or(CombineError::PeerOutOfRange);
    let points: Vec<u64> = peers.map(point).collect::<Result<_, _>>()?;
    if points.is_empty() { Err(CombineError::Empty) } else { Ok(points) }
}

/// Weights that interpolate at zero from the values at `points`, in the order given.
fn lagrange_at_zero(points: &[u64]) -> Vec<[u8; Scalar::LEN]> {
    let points: Vec<Scalar> = points.iter().map(|point| Scalar::from(*point)).collect();
    let weight = |own: usize| {
        let mut numerator = Scalar::from(1);
        let mut denominator = Scalar::from(1);
        for (_, other) in points.iter().enumerate().filter(|(index, _)| *index != own) {
            numerator = numerator.times(other);
            denominator = denominator.times(&other.minus(&points[own]));
        }
        *numerator.times(&denominator.inverse()).to_bytes()
    };
    (0..points.len()).map(weight).collect()
}

/// The same weights as integers over a common denominator.
struct SmallWeights {
    numerators: Vec<i64>,
    denominator: u64,
}

impl SmallWeights {
    /// `None` if the numbers are too large.
    fn at_zero(points: &[u64]) -> Option<Self> {
        let mut fractions = Vec::with_capacity(points.len());
        let mut common = 1_i128;
        for own in points {
            let (mut numerator, mut denominator) = (1_i128, 1_i128);
            for other in points.iter().filter(|other| *other != own) {
                numerator = numerator.checked_mul(i128::from(*other))?;
                denominator = denominator.checked_mul(i128::from(*other) - i128::from(*own))?;
                let shared = gcd(numerator, denominator);
                (numerator, denominator) = (numerator / shared, denominator / shared);
            }
            common = (common / gcd(common, denominator)).checked_mul(denominator.abs())?;
            fractions.push((numerator, denominator));
        }
        let over_common = |(numerator, denominator): (i128, i128)| {
            i64::try_from(numerator.checked_mul(common / denominator)?).ok()
        };
        let numerators = fractions.into_iter().map(over_common).collect::<Option<_>>()?;
        Some(Self { numerators, denominator: u64::try_from(common).ok()? })
    }

    /// The weighted sum of `shares`, which are as many.
    fn sum(&self, shares: impl Iterator<Item = G1>) -> G1 {
        let sum = shares.zip(&self.numerators).fold(G1::default(), |sum, (share, numerator)| {
            let multiple = share.times_u64(numerator.unsigned_abs());
            if *numerator < 0 { sum.minus(&multiple) } else { sum.plus(&multiple) }
        });
        match self.denominator {
            1 => sum,
            denominator => sum.times(&Scalar::from(denominator).inverse()),
        }
    }
}

/// The greatest common divisor, positive; the numbers are not both zero.
fn gcd(left: i128, right: i128) -> i128 {
    let (mut left, mut right) = (left.abs(), right.abs());
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All guardians of a federation but those in `absent`, as points.
    fn points_without(total: u64, absent: &[u64]) -> Vec<u64> {
        (1..=total).filter(|point| !absent.contains(point)).collect()
    }

    #[test]
    fn small_weights_sum_up_to_what_scalars_do() {
        let sets = [
            vec![1],
            vec![1, 2, 3],
            vec![1, 2, 4],
            vec![1, 3, 4],
            vec![2, 3, 4],
            vec![7, 80, 3],
            points_without(7, &[2, 5]),
            points_without(13, &[1, 6, 7, 12]),
            points_without(16, &[3, 4, 9, 11, 16]),
        ];
        for points in sets {
            let shares: Vec<G1> = points.iter().map(|p| G1::generator().times_u64(p * p)).collect();
            let weights = lagrange_at_zero(&points);
            let expected: Vec<_> = shares.iter().copied().zip(weights).collect();
            let small = SmallWeights::at_zero(&points);
            let small = small.unwrap_or_else(|| panic!("numbers too large for {points:?}"));
            assert_eq!(small.sum(shares.into_iter()), G1::lincomb(&expected), "{points:?}");
        }
    }

    #[test]
    fn weights_that_are_no_small_numbers_are_scalars() {
        let points = points_without(80, &(2..=27).collect::<Vec<_>>());
        assert!(SmallWeights::at_zero(&points).is_none());
        assert!(SmallWeights::at_zero(&[u64::MAX, u64::MAX - 1, 1 << 40]).is_none());
    }
}
