//! A session has room for what can be stored and told.

use moneta_core::Encode;
use moneta_store::{Batch, WriteSet};

use super::{Guardian, S0, S1, exchange};
use crate::engine::SESSION_LIMIT_BYTES;
use crate::testing::{
    Coin, Rule, Vote, coin, engine, transaction, transaction_item, vote, vote_item,
};

fn long_vote(number: u64) -> Vec<u8> {
    vote_item(Vote { padding: vec![7; 48_000], ..vote(number) })
}

/// Orders votes of 48 kB until one is postponed; how many were accepted.
fn fill(guardian: &mut Guardian, from: u64) -> u64 {
    for number in from..from + 200 {
        let processed = guardian.order(&[long_vote(number)]).unwrap();
        if processed.accepted.is_empty() {
            assert_eq!(processed.postponed.len(), 1);
            return number - from;
        }
    }
    panic!("the session has no bound")
}

/// A session of more than 16 MB was written, could not be read again, and halted every guardian for
/// good; one of more than 5 MB could not be told to anybody. Both by one guardian's votes.
#[test]
fn session_has_room_for_what_can_be_stored_and_told_and_no_more() {
    const STREAM: u64 = 20_000_000 / 48_000;
    let payment = transaction_item(&exchange(1, 500));
    let mut guardian = Guardian::new();
    let mut restarting = Guardian::new();
    let mut half = None;
    for number in 0..STREAM {
        let processed = guardian.order(&[long_vote(number)]).unwrap();
        restarting.engine = engine();
        let again = restarting.order(&[long_vote(number)]).unwrap();
        assert_eq!(processed.accepted, again.accepted, "vote {number}");
        assert_eq!(processed.session_bytes, again.session_bytes);
        assert_eq!(processed.accepted.len() + processed.postponed.len(), 1);
        assert!(processed.refused.is_empty());
        if number == STREAM / 10 {
            let late = Guardian::new();
            late.store.commit(copy_of(&guardian)).unwrap();
            half = Some(late);
        }
    }
    let processed = guardian.order(&[long_vote(STREAM), vote_item(vote(STREAM + 1))]).unwrap();
    restarting.order(&[long_vote(STREAM), vote_item(vote(STREAM + 1))]).unwrap();
    assert_eq!((processed.accepted.len(), processed.postponed.len()), (1, 1), "a small one fits");
    assert_eq!(guardian.everything(), restarting.everything());

    let signed = guardian.sign(S0);
    let size = signed.to_bytes().len() as u64;
    assert!((4_000_000..SESSION_LIMIT_BYTES + 1000).contains(&size), "{size}");
    assert!(2 * size + 100_000 < 10 << 20, "as hex it is more than a client takes");
    for mut late in [Guardian::new(), half.unwrap(), restarting] {
        late.replay(S0, &signed).unwrap();
        assert_eq!(late.everything(), guardian.everything());
    }
    let next = guardian.order_in(S1, &[long_vote(STREAM), payment]).unwrap();
    assert_eq!((next.accepted.len(), next.postponed.len()), (2, 0), "the next one has room again");
}

fn copy_of(guardian: &Guardian) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in guardian.everything() {
        batch.put(key, value);
    }
    batch
}

#[test]
fn transaction_without_room_is_neither_refused_nor_lost() {
    let mut guardian = Guardian::new();
    fill(&mut guardian, 0);
    let used = guardian.engine.running_bytes(&guardian.store.snapshot(), S0).unwrap();
    let left = (SESSION_LIMIT_BYTES - used) as usize;
    let padding = vec![7; left - 40];
    guardian.order(&[vote_item(Vote { padding, ..vote(1000) })]).unwrap();
    let payment = exchange(1, 500);
    let refused = transaction(&[coin(2, 5)], &[Coin { rule: Rule::Refuse, ..coin(2, 5) }]);
    let items = [transaction_item(&payment), transaction_item(&refused)];
    let processed = guardian.order(&items).unwrap();
    assert!(processed.accepted.is_empty() && processed.refused.is_empty());
    let postponed: Vec<_> = processed.postponed.iter().map(Encode::to_bytes).collect();
    assert_eq!(postponed, items, "unjudged, the bad one too");
    assert_eq!(guardian.verdict(&payment), Ok(()), "whoever asks hears nothing else");
    guardian.sign(S0);
    let processed = guardian.order_in(S1, &postponed).unwrap();
    assert_eq!(processed.transactions, [payment.txid()]);
    assert_eq!(processed.refused, [refused.txid()]);
}

/// All guardians end a session at once, in the midst of payments.
#[test]
fn end_of_a_session_writes_little_however_long_it_is() {
    let mut guardian = Guardian::new();
    for number in 0..40 {
        guardian.order(&[long_vote(number)]).unwrap();
    }
    let size = |batch: &Batch| -> usize {
        batch.iter().map(|(key, value)| key.len() + value.unwrap_or_default().len()).sum()
    };
    let snapshot = guardian.store.snapshot();
    let mut writes = WriteSet::new(&snapshot);
    guardian.engine.end_session(&mut writes, S0).unwrap();
    let ended = writes.into_batch();
    guardian.store.commit(ended.clone()).unwrap();
    let snapshot = guardian.store.snapshot();
    let mut writes = WriteSet::new(&snapshot);
    guardian.engine.complete_session(&mut writes, S0, &super::signatures());
    let signed = writes.into_batch();
    assert!(size(&ended) < 100 && size(&signed) < 1000, "{} {}", size(&ended), size(&signed));
    guardian.store.commit(signed).unwrap();
    let signed = guardian.engine.signed_session(&guardian.store.snapshot(), S0).unwrap().unwrap();
    assert_eq!(signed.session_outcome.items.len(), 40);
}
