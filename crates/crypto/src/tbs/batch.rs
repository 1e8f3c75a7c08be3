//! Verifying many signatures at once.
//!
//! The check `e(M, K) = e(S, g2)` of each item gets a random-looking 128-bit coefficient `c`; all of
//! them hold if `product over keys of e(sum of c M, K) * e(sum of c S, -g2) = 1`, with one pairing
//! per different key. An adversary who does not know the coefficients when choosing the items
//! passes wrongly with probability 2^-128. The coefficients are therefore hashed from every key,
//! message and signature of the batch: no randomness is drawn, and guardians who check the same
//! batch do the same work.
//!
//! If the product is not one, the batch is halved until the bad items stand alone. An item that
//! stands alone is decided exactly, since its coefficient is not zero.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    AggregatePublicKey, BlindedMessage, BlindedSignatureShare, Message, PublicKeyShare, Signature,
};
use crate::curve::pairing::{PairingProduct, signature_holds};
use crate::curve::{G1, G2};
use crate::workers::map_chunks;

/// A note signature to verify.
pub type BatchItem = (AggregatePublicKey, Message, Signature);

/// A signature share to verify.
pub type ShareBatchItem = (PublicKeyShare, BlindedMessage, BlindedSignatureShare);

/// Separates these hashes from every other use of SHA-256.
const COEFFICIENT_TAG: &[u8] = b"moneta/tbs/batch-coefficients/v1";

/// A worker with fewer items than this costs more than it saves: each pays for its own pairings.
const ITEMS_PER_WORKER_MIN: usize = 32;

/// Whether each signature is valid, in the order given. The verdicts are those of [`super::verify`].
pub fn verify_batch(items: &[BatchItem]) -> Vec<bool> {
    verify_batch_with(items, 1)
}

/// [`verify_batch`] on up to `workers` threads (0 and 1: on this one). The verdicts do not depend on
/// the number.
pub fn verify_batch_with(items: &[BatchItem], workers: usize) -> Vec<bool> {
    let checks = items.iter().map(|(key, message, signature)| Check {
        key: key.0,
        message: message.0,
        signature: signature.0,
    });
    verify_checks(&checks.collect::<Vec<_>>(), workers)
}

/// Whether all signatures are valid, on up to `workers` threads. One check, whatever the answer: who
/// takes items from strangers knows what a bad one costs, and none of them is named.
pub fn all_valid_with(items: &[BatchItem], workers: usize) -> bool {
    let checks = items.iter().map(|(key, message, signature)| Check {
        key: key.0,
        message: message.0,
        signature: signature.0,
    });
    let mut weighted = weigh(&checks.collect::<Vec<_>>());
    weighted.sort_by_key(|item| item.group);
    holds(&weighted, workers)
}

/// Whether each signature share is valid, in the order given. The verdicts are those of
/// [`super::verify_share`]. Fastest with many messages per key.
pub fn verify_share_batch(items: &[ShareBatchItem]) -> Vec<bool> {
    verify_share_batch_with(items, 1)
}

/// [`verify_share_batch`] on up to `workers` threads (0 and 1: on this one). The verdicts do not
/// depend on the number.
pub fn verify_share_batch_with(items: &[ShareBatchItem], workers: usize) -> Vec<bool> {
    let checks = items.iter().map(|(key, message, share)| Check {
        key: key.0,
        message: message.0,
        signature: share.0,
    });
    verify_checks(&checks.collect::<Vec<_>>(), workers)
}

/// One equation `e(message, key) = e(signature, g2)`.
#[derive(Clone, Copy)]
pub(super) struct Check {
    pub(super) key: G2,
    pub(super) message: G1,
    pub(super) signature: G1,
}

/// A check with its coefficient; `group` numbers the different keys, `position` is that of the input.
struct Weighted {
    check: Check,
    coefficient: [u8; 16],
    group: usize,
    position: usize,
}

fn verify_checks(checks: &[Check], workers: usize) -> Vec<bool> {
    let mut verdicts = vec![false; checks.len()];
    let mut weighted = weigh(checks);
    // Stable, so the order within a key is that of the input.
    weighted.sort_by_key(|item| item.group);
    settle(&weighted, false, workers, &mut verdicts);
    verdicts
}

/// Writes the verdicts of `part`; returns whether all of it is valid. `known_bad` says that `part`
/// is known to contain a bad item, so that the check of the whole can be left out.
fn settle(part: &[Weighted], known_bad: bool, workers: usize, verdicts: &mut [bool]) -> bool {
    if !known_bad && holds(part, workers) {
        for item in part {
            verdicts[item.position] = true;
        }
        return true;
    }
    if part.len() > 1 {
        let (left, right) = part.split_at(part.len() / 2);
        // The product of the whole is not one: if that of the left half is, the right one's is not.
        let left_holds = settle(left, false, workers, verdicts);
        settle(right, left_holds, workers, verdicts);
    }
    false
}

/// Whether the weighted product of all checks in `part` is one.
fn holds(part: &[Weighted], workers: usize) -> bool {
    if let [single] = part {
        let Check { key, message, signature } = &single.check;
        return signature_holds(key, message, signature);
    }
    map_chunks(part, workers, ITEMS_PER_WORKER_MIN, product)
        .iter()
        .fold(PairingProduct::one(), |all, chunk| all.times(chunk))
        .is_one()
}

fn product(part: &[Weighted]) -> PairingProduct {
    let mut pairs: Vec<(G1, G2)> = part
        .chunk_by(|left, right| left.group == right.group)
        .map(|same_key| {
            let messages: Vec<_> =
                same_key.iter().map(|item| (item.check.message, item.coefficient)).collect();
            (G1::lincomb(&messages), same_key[0].check.key)
        })
        .collect();
    let signatures: Vec<_> =
        part.iter().map(|item| (item.check.signature, item.coefficient)).collect();
    pairs.push((G1::lincomb(&signatures), G2::negated_generator()));
    PairingProduct::of(&pairs)
}

/// Hashes the whole batch to coefficients and numbers the keys.
fn weigh(checks: &[Check]) -> Vec<Weighted> {
    let mut hash = Sha256::new();
    hash.update(COEFFICIENT_TAG);
    hash.update((checks.len() as u64).to_be_bytes());
    let mut group_of_key = BTreeMap::new();
    let mut groups = Vec::with_capacity(checks.len());
    for check in checks {
        let key = check.key.to_compressed();
        hash.update(key);
        hash.update(check.message.to_compressed());
        hash.update(check.signature.to_compressed());
        let next = group_of_key.len();
        groups.push(*group_of_key.entry(key).or_insert(next));
    }
    let seed: [u8; 32] = hash.finalize().into();
    let weigh_one = |(position, (check, group)): (usize, (&Check, usize))| Weighted {
        check: *check,
        coefficient: coefficient(&seed, position as u64),
        group,
        position,
    };
    checks.iter().zip(groups).enumerate().map(weigh_one).collect()
}

/// The coefficient at `position`: 128 bits, never zero.
fn coefficient(seed: &[u8; 32], position: u64) -> [u8; 16] {
    let hash = Sha256::new().chain_update(seed).chain_update(position.to_be_bytes()).finalize();
    let mut coefficient = [0; 16];
    coefficient.copy_from_slice(&hash[..16]);
    if coefficient == [0; 16] {
        coefficient[0] = 1;
    }
    coefficient
}
