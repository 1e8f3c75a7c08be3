//! Curve operations.

use std::hint::black_box;

use moneta_crypto::Scalar;
use moneta_crypto::tbs::{
    AggregatePublicKey, BatchItem, BlindedMessage, BlindingKey, SecretKeyShare, blind,
    hash_to_message_v2, sign_share, verify, verify_batch,
};
use moneta_store::{Memory, WriteSet};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::federation::{Mint, SPENT};

/// Valid signatures under one key.
pub fn batch_of(count: usize) -> Vec<BatchItem> {
    let mut mint = Mint::new();
    let store = Memory::store();
    let snapshot = store.snapshot();
    let notes = mint.issue(count, &mut WriteSet::new(&snapshot));
    let key: AggregatePublicKey = mint.config.tbs_agg_pks[&SPENT];
    notes.iter().map(|note| (key, note.nonce().message(), note.signature)).collect()
}

/// Verifies them in one batch, on this thread.
pub fn verify_items(items: &[BatchItem]) {
    assert!(verify_batch(black_box(items)).into_iter().all(|valid| valid), "they are valid");
}

pub(crate) fn hash_to_message() -> Box<dyn FnMut()> {
    let mut nonce = [2; 33];
    let mut number = 0_u64;
    Box::new(move || {
        // Points take different numbers of tries; many nonces even that out.
        number += 1;
        nonce[1..9].copy_from_slice(&number.to_be_bytes());
        black_box(hash_to_message_v2(black_box(&nonce)));
    })
}

pub(crate) fn sign_one_share() -> Box<dyn FnMut()> {
    let mut rng = StdRng::seed_from_u64(3);
    let key: SecretKeyShare = Scalar::random(&mut rng).into();
    let blinding: BlindingKey = Scalar::random(&mut rng).into();
    let message: BlindedMessage = blind(&hash_to_message_v2(&[2; 33]), &blinding);
    Box::new(move || {
        black_box(sign_share(black_box(&message), black_box(&key)));
    })
}

pub(crate) fn verify_one() -> Box<dyn FnMut()> {
    let items = batch_of(1);
    Box::new(move || {
        let (key, message, signature) = black_box(&items[0]);
        assert!(verify(message, signature, key), "the signature is valid");
    })
}

pub(crate) fn verify_batch_of_50() -> Box<dyn FnMut()> {
    let items = batch_of(50);
    Box::new(move || verify_items(&items))
}
