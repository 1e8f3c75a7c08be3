//! Combining shares of a threshold of guardians.
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
    let weights = lagrange_at_zero(shares.keys().copied())?;
    let terms: Vec<_> = shares.values().map(|share| share.0).zip(weights).collect();
    Ok(BlindedSignature(G1::lincomb(&terms)))
}

/// The aggregate key of exactly a threshold of public key shares, keyed by peer index.
///
/// Errors: `Empty`, `PeerOutOfRange`.
pub fn combine_public_keys(
    shares: &BTreeMap<u64, PublicKeyShare>,
) -> Result<AggregatePublicKey, CombineError> {
    let weights = lagrange_at_zero(shares.keys().copied())?;
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

/// Weights that interpolate at zero from the values at `peer + 1`, in the order given. The peers
/// must differ.
fn lagrange_at_zero(
    peers: impl Iterator<Item = u64>,
) -> Result<Vec<[u8; Scalar::LEN]>, CombineError> {
    let points: Vec<Scalar> = peers
        .map(|peer| peer.checked_add(1).map(Scalar::from).ok_or(CombineError::PeerOutOfRange))
        .collect::<Result<_, _>>()?;
    if points.is_empty() {
        return Err(CombineError::Empty);
    }
    let weight = |own: usize| {
        let mut numerator = Scalar::from(1);
        let mut denominator = Scalar::from(1);
        for (_, other) in points.iter().enumerate().filter(|(index, _)| *index != own) {
            numerator = numerator.times(other);
            denominator = denominator.times(&other.minus(&points[own]));
        }
        *numerator.times(&denominator.inverse()).to_bytes()
    };
    Ok((0..points.len()).map(weight).collect())
}
