//! What the engine promises, with a module whose rules the test chooses.

#![allow(clippy::unwrap_used)]

mod room;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{
    Encode, InputEnvelope, Msat, OutPoint, OutputEnvelope, PeerId, SessionHeader, SessionIndex,
    SessionStatusV2, SignedSessionOutcome, SubmissionOutcome, Transaction, TransactionError,
    TransactionSignatures,
};
use moneta_module::server::{Facts, Need};
use moneta_store::{KeyRange, Memory, Order, Read, Store, WriteSet};

use super::{Engine, Halt, Processed, ReplayError, Stop, SubmissionError, UnitError};
use crate::testing::{
    Coin, FIRST, Rule, SECOND, coin, engine, keypair, transaction, transaction_item, vote,
    vote_item,
};

const ME: PeerId = PeerId::new(0);
const S0: SessionIndex = SessionIndex(0);
const S1: SessionIndex = SessionIndex(1);

/// One guardian: the engine and its store.
struct Guardian {
    engine: Engine,
    store: Store,
    facts: Facts,
    position: u64,
}

impl Guardian {
    fn new() -> Self {
        let (engine, store) = (engine(), Memory::store());
        Self { engine, store, facts: Facts::default(), position: 0 }
    }

    /// Orders a unit of the running session and commits.
    fn order(&mut self, items: &[Vec<u8>]) -> Result<Processed, Stop> {
        self.order_in(S0, items)
    }

    fn order_in(&mut self, session: SessionIndex, items: &[Vec<u8>]) -> Result<Processed, Stop> {
        let unit = self.engine.decode_unit(ME, items).unwrap();
        self.engine.prepare(&[&unit]);
        let snapshot = self.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let processed =
            self.engine.process_unit(&mut writes, session, self.position, &unit, &self.facts);
        if processed.is_err() {
            assert!(writes.is_empty(), "a unit that stops leaves nothing");
            return processed;
        }
        self.store.commit(writes.into_batch()).unwrap();
        self.position += 1;
        processed
    }

    fn end(&mut self, session: SessionIndex) -> Result<SessionHeader, Halt> {
        let snapshot = self.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let ended = self.engine.end_session(&mut writes, session)?;
        self.store.commit(writes.into_batch()).unwrap();
        self.position = 0;
        Ok(ended)
    }

    /// Ends and "signs" a session; the engine leaves signatures to its caller.
    fn sign(&mut self, session: SessionIndex) -> SignedSessionOutcome {
        self.end(session).unwrap();
        let snapshot = self.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        self.engine.complete_session(&mut writes, session, &signatures());
        self.store.commit(writes.into_batch()).unwrap();
        self.engine.signed_session(&self.store.snapshot(), session).unwrap().unwrap()
    }

    fn replay(
        &mut self,
        session: SessionIndex,
        signed: &SignedSessionOutcome,
    ) -> Result<(), ReplayError> {
        let snapshot = self.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let replayed =
            self.engine.replay_session(&mut writes, session, signed.clone(), &self.facts);
        if replayed.is_err() {
            assert!(writes.is_empty(), "a failed replay leaves nothing");
        }
        replayed?;
        self.store.commit(writes.into_batch()).unwrap();
        Ok(())
    }

    /// Refusal of a transaction by itself, as all guardians give it.
    fn verdict(&self, transaction: &Transaction) -> Result<(), TransactionError> {
        let snapshot = self.store.snapshot();
        let SubmissionOutcome(outcome) =
            self.engine.check_submission(&snapshot, transaction).unwrap();
        outcome.map(|_| ())
    }

    fn everything(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let snapshot = self.store.snapshot();
        snapshot.scan(KeyRange::all(), Order::Ascending).map(Result::unwrap).collect()
    }

    fn net(&self) -> i128 {
        let lines = self.engine.audit(&self.store.snapshot()).unwrap();
        lines.iter().map(|line| line.net_msat).sum()
    }
}

fn signatures() -> BTreeMap<PeerId, Signature> {
    let signature = Signature::from_slice(&[7; 64]).unwrap();
    (0..3).map(|peer| (PeerId::new(peer), signature)).collect()
}

/// Turns one coin into another.
fn exchange(number: u64, amount: u64) -> Transaction {
    transaction(&[coin(number, amount)], &[coin(number, amount)])
}

#[test]
fn accepted_items_are_kept_in_order_and_refused_ones_leave_no_trace() {
    let mut guardian = Guardian::new();
    let good = transaction_item(&exchange(1, 500));
    let bad = transaction(&[coin(2, 500)], &[Coin { rule: Rule::Refuse, ..coin(2, 500) }]);
    let processed =
        guardian.order(&[good.clone(), transaction_item(&bad), vote_item(vote(3))]).unwrap();
    assert_eq!(processed.accepted.len(), 2);
    assert_eq!(processed.refused, [bad.txid()]);
    assert_eq!(processed.transactions, [exchange(1, 500).txid()]);

    let mut other = Guardian::new();
    other.order(&[good, vote_item(vote(3))]).unwrap();
    assert_eq!(guardian.everything(), other.everything());
    let snapshot = guardian.store.snapshot();
    assert_eq!(guardian.engine.last_contribution(&snapshot, ME).unwrap(), Some(S0));
    assert_eq!(guardian.engine.progress(&snapshot, S0).unwrap(), 1);
}

#[test]
fn unit_with_one_undecodable_item_is_dropped_whole() {
    let guardian = Guardian::new();
    let good = vote_item(vote(1));
    let decode = |item: Vec<u8>| guardian.engine.decode_unit(ME, &[good.clone(), item]).err();
    assert!(matches!(decode(vec![1, 2, 3]), Some(UnitError::Decode(_))));
    let mut trailing = vote_item(vote(2));
    trailing.push(0);
    assert!(matches!(decode(trailing), Some(UnitError::Decode(_))));
    assert!(matches!(decode(vec![9, 1, 0]), Some(UnitError::UnknownItem(9))));

    let unknown = moneta_core::ModuleInstanceId::new(7);
    let mut foreign = exchange(1, 5);
    foreign.inputs[0] = InputEnvelope::new(unknown, &coin(1, 5));
    let dropped = decode(transaction_item(&foreign));
    assert!(matches!(dropped, Some(UnitError::UnknownModule(id)) if id == unknown));
    let mut inner = exchange(1, 5);
    inner.outputs[0] = OutputEnvelope::from_raw(FIRST, vec![1]);
    assert!(matches!(decode(transaction_item(&inner)), Some(UnitError::Decode(_))));

    let coins: Vec<Coin> = (0..6000).map(|number| coin(number, 1)).collect();
    let mut large = transaction(&[], &coins);
    assert!(matches!(decode(transaction_item(&large)), Some(UnitError::TransactionTooLarge)));
    large.outputs.truncate(1);
    assert!(decode(transaction_item(&large)).is_none());
}

#[test]
fn transaction_is_all_or_nothing_within_itself() {
    let mut guardian = Guardian::new();
    // The same coin twice: the second input sees what the first has done.
    let twice = transaction(&[coin(1, 5), coin(1, 5)], &[coin(1, 10)]);
    let error = guardian.verdict(&twice).unwrap_err();
    assert!(
        matches!(error, TransactionError::Input(envelope) if envelope.bytes == 1_u64.to_bytes())
    );
    let before = guardian.everything();
    let processed = guardian.order(&[transaction_item(&twice)]).unwrap();
    assert!(processed.accepted.is_empty());
    let after = guardian.everything();
    assert_eq!(after.len(), before.len() + 1, "only the progress of the session");
    guardian.order(&[transaction_item(&exchange(1, 5))]).unwrap();
    assert_eq!(guardian.net(), 0);
}

#[test]
fn first_of_several_errors_is_the_one_of_the_fixed_order() {
    let guardian = Guardian::new();
    let refused = |number| Coin { rule: Rule::Refuse, ..coin(number, 5) };
    // Everything is wrong: the second input, signatures, outputs, funding.
    let mut all = transaction(&[coin(1, 1), refused(2), refused(3)], &[refused(4), coin(5, 900)]);
    all.signatures = TransactionSignatures::Unknown { variant: 3, bytes: Vec::new() };
    let error = guardian.verdict(&all).unwrap_err();
    assert!(matches!(error, TransactionError::Input(e) if e.bytes == 2_u64.to_bytes()));

    let mut scheme = transaction(&[coin(1, 1)], &[refused(4), coin(5, 900)]);
    scheme.signatures = TransactionSignatures::Unknown { variant: 3, bytes: Vec::new() };
    let error = guardian.verdict(&scheme).unwrap_err();
    assert!(matches!(error, TransactionError::UnsupportedSignatureScheme { variant: 3 }));

    let mut count = scheme.clone();
    count.sign_all(&[keypair(1), keypair(1)]);
    assert!(matches!(guardian.verdict(&count), Err(TransactionError::InvalidWitnessLength)));

    let mut signature = scheme.clone();
    signature.sign_all(&[keypair(2)]);
    assert!(matches!(guardian.verdict(&signature), Err(TransactionError::InvalidSignature { .. })));

    let output = transaction(&[coin(1, 1)], &[refused(4), refused(5), coin(6, 900)]);
    let error = guardian.verdict(&output).unwrap_err();
    assert!(matches!(error, TransactionError::Output(e) if e.bytes == 4_u64.to_bytes()));
}

#[test]
fn funding_pays_outputs_and_fees_and_surplus_is_kept() {
    let mut guardian = Guardian::new();
    let short = transaction(&[Coin { fee: 3, ..coin(1, 100) }], &[Coin { fee: 2, ..coin(1, 96) }]);
    let expected = TransactionError::UnbalancedTransaction {
        inputs: Msat(100),
        outputs: Msat(96),
        fee: Msat(5),
    };
    assert_eq!(guardian.verdict(&short), Err(expected));

    let overflow = transaction(&[coin(1, u64::MAX), coin(2, 1)], &[]);
    assert_eq!(guardian.verdict(&overflow), Err(TransactionError::OVERFLOW));

    let surplus = transaction(&[coin(1, 100)], &[coin(1, 40)]);
    assert_eq!(guardian.verdict(&surplus), Ok(()));
    guardian.order(&[transaction_item(&surplus)]).unwrap();
    assert_eq!(guardian.net(), 60);
}

/// Signatures that were good at submission are not checked again; others of the same transaction are.
#[test]
fn good_signatures_speak_for_themselves_alone() {
    let mut guardian = Guardian::new();
    let good = transaction(&[coin(1, 1000)], &[coin(2, 1000)]);
    let mut forged = good.clone();
    forged.sign_all(&[keypair(9)]);
    assert_eq!(forged.txid(), good.txid());
    guardian.verdict(&good).unwrap();
    assert!(matches!(guardian.verdict(&forged), Err(TransactionError::InvalidSignature { .. })));
    assert!(guardian.order(&[transaction_item(&forged)]).unwrap().accepted.is_empty());
    assert_eq!(guardian.order(&[transaction_item(&good)]).unwrap().accepted.len(), 1);
}

#[test]
fn accepted_transaction_is_never_processed_again_and_answers_for_ever() {
    let mut guardian = Guardian::new();
    let transaction = exchange(1, 5);
    assert!(!guardian.engine.is_accepted(&guardian.store.snapshot(), transaction.txid()).unwrap());
    guardian.order(&[transaction_item(&transaction)]).unwrap();
    // Its coin is spent, and it is still the same success; other signatures make no other.
    let mut again = transaction.clone();
    again.sign_all(&[keypair(9)]);
    assert_eq!(guardian.verdict(&again), Ok(()));
    let processed = guardian.order(&[transaction_item(&transaction)]).unwrap();
    assert!(processed.accepted.is_empty());
    assert_eq!(processed.refused, [transaction.txid()]);

    let snapshot = guardian.store.snapshot();
    let out_point = |out_idx| OutPoint { txid: transaction.txid(), out_idx };
    let outcome = |out_idx| guardian.engine.output_outcome(&snapshot, out_point(out_idx)).unwrap();
    assert_eq!(outcome(0), Some((FIRST, Some(vec![42]))));
    assert_eq!(outcome(1), None);
    assert_eq!(outcome(u64::MAX), None);
}

#[test]
fn submission_is_judged_without_a_trace() {
    let guardian = Guardian::new();
    let before = guardian.everything();
    guardian.verdict(&exchange(1, 5)).unwrap();
    assert_eq!(guardian.everything(), before);
    let snapshot = guardian.store.snapshot();
    let check = |transaction| guardian.engine.check_submission(&snapshot, &transaction);
    let blocked = transaction(&[Coin { rule: Rule::NeedBlock(5), ..coin(1, 5) }], &[]);
    assert!(matches!(check(blocked), Err(SubmissionError::NotNow)));
    let broken = transaction(&[Coin { rule: Rule::Break, ..coin(1, 5) }], &[]);
    // To a guardian that lacks history, an honest transaction may look like this.
    let behind = check(broken).unwrap_err();
    assert!(matches!(behind, SubmissionError::Behind { instance: FIRST, .. }), "{behind}");
    assert!(behind.to_string().contains("caught up"), "{behind}");
    let mut unknown = exchange(1, 5);
    unknown.outputs[0] = OutputEnvelope::from_raw(SECOND, vec![]);
    assert!(matches!(check(unknown), Err(SubmissionError::Unknown(_))));
}

#[test]
fn submissions_checked_together_get_the_verdicts_they_get_alone() {
    let guardian = Guardian::new();
    let refused = transaction(&[Coin { rule: Rule::Refuse, ..coin(2, 5) }], &[coin(2, 5)]);
    let broken = transaction(&[Coin { rule: Rule::Break, ..coin(3, 5) }], &[]);
    let unfunded = transaction(&[coin(4, 5)], &[coin(4, 500)]);
    // The first and the last spend the same coin: each could be accepted now.
    let all = [exchange(1, 5), refused, broken, unfunded, exchange(1, 5)];
    let snapshot = guardian.store.snapshot();
    let together = guardian.engine.check_submissions(&snapshot, &all.iter().collect::<Vec<_>>());
    let alone = all.iter().map(|transaction| {
        format!("{:?}", guardian.engine.check_submission(&snapshot, transaction))
    });
    let together: Vec<_> = together.iter().map(|verdict| format!("{verdict:?}")).collect();
    assert_eq!(together, alone.collect::<Vec<_>>());
}

#[test]
fn unit_that_needs_a_block_is_run_again_as_if_nothing_had_happened() {
    let mut guardian = Guardian::new();
    let needy = crate::testing::Vote { rule: Rule::NeedBlock(7), ..vote(2) };
    let items = [transaction_item(&exchange(1, 5)), vote_item(needy), vote_item(vote(3))];
    let Err(Stop::Blocked(need)) = guardian.order(&items) else { panic!("not blocked") };
    assert_eq!(need, Need::Blocks { from: 7, to: 8, block_count: 8 });
    assert!(guardian.everything().is_empty());
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    guardian.facts.blocks.insert(7, Arc::new(genesis));
    assert_eq!(guardian.order(&items).unwrap().accepted.len(), 3);
}

#[test]
fn broken_module_halts_and_nothing_of_its_unit_is_written() {
    let mut guardian = Guardian::new();
    let broken = crate::testing::Vote { rule: Rule::Break, ..vote(2) };
    let stopped = guardian.order(&[vote_item(vote(1)), vote_item(broken)]);
    let Err(Stop::Halt(Halt::Module { instance, .. })) = stopped else { panic!("went on") };
    assert_eq!(instance, FIRST);
    assert!(guardian.everything().is_empty());
}

#[test]
fn guardian_halts_before_it_would_owe_more_than_it_holds() {
    let mut guardian = Guardian::new();
    guardian.order(&[transaction_item(&transaction(&[coin(1, 60)], &[]))]).unwrap();
    let hole = transaction(&[], &[Coin { rule: Rule::Lose, ..coin(2, 0) }]);
    let Err(Stop::Halt(Halt::Insolvent { missing_msat })) =
        guardian.order(&[transaction_item(&hole)])
    else {
        panic!("went on")
    };
    assert_eq!(missing_msat, 40);
    assert_eq!(guardian.net(), 60);
}

#[test]
fn session_is_not_signed_over_books_that_do_not_match() {
    let mut guardian = Guardian::new();
    let wrong = transaction(&[], &[Coin { rule: Rule::Misreport, ..coin(2, 0) }]);
    guardian.order(&[transaction_item(&wrong)]).unwrap();
    let Err(Halt::Books { instance, audited, kept }) = guardian.end(S0) else { panic!("signed") };
    assert_eq!((instance, audited, kept), (FIRST, 0, 1));
    let snapshot = guardian.store.snapshot();
    assert!(guardian.engine.ended_session(&snapshot, S0).unwrap().is_none());
    let checked = guardian.engine.check_books(&snapshot);
    assert!(matches!(checked, Err(Halt::Books { .. })), "nor does the guardian start again");
}

#[test]
fn ended_session_stays_what_it_was_until_it_is_signed() {
    let mut guardian = Guardian::new();
    guardian.order(&[vote_item(vote(1))]).unwrap();
    let snapshot = guardian.store.snapshot();
    let status = |session| guardian.engine.session_status(&snapshot, session).unwrap();
    assert!(matches!(status(S0), SessionStatusV2::Pending(items) if items.len() == 1));
    assert_eq!(status(S1), SessionStatusV2::Initial);

    let ended = guardian.end(S0).unwrap();
    assert_eq!(guardian.end(S0).unwrap(), ended, "ending again gives the same");
    guardian.order_in(S1, &[vote_item(vote(2))]).unwrap();
    let snapshot = guardian.store.snapshot();
    let status = |session| guardian.engine.session_status(&snapshot, session).unwrap();
    assert!(matches!(status(S0), SessionStatusV2::Pending(items) if items.len() == 1));
    assert_eq!(status(S1), SessionStatusV2::Initial);
    assert_eq!(guardian.engine.progress(&snapshot, S0).unwrap(), u64::MAX);
    assert_eq!(guardian.engine.ended_session(&snapshot, S0).unwrap(), Some(ended));

    let signed = guardian.sign(S0);
    assert_eq!(signed.session_outcome.header(S0), ended);
    let snapshot = guardian.store.snapshot();
    let status = |session| guardian.engine.session_status(&snapshot, session).unwrap();
    assert_eq!(guardian.engine.session_count(&snapshot).unwrap(), S1);
    assert_eq!(status(S0), SessionStatusV2::Complete(signed));
    assert!(matches!(status(S1), SessionStatusV2::Pending(items) if items.len() == 1));
    assert_eq!(status(SessionIndex(2)), SessionStatusV2::Initial);
    assert_eq!(guardian.engine.progress(&snapshot, S0).unwrap(), u64::MAX);
    assert_eq!(guardian.engine.ended_session(&snapshot, S0).unwrap(), None);
}

#[test]
fn replay_from_any_point_equals_having_been_there() {
    let items: Vec<Vec<u8>> = vec![
        transaction_item(&exchange(1, 500)),
        vote_item(vote(2)),
        transaction_item(&transaction(&[coin(3, 70)], &[coin(4, 30)])),
    ];
    let mut live = Guardian::new();
    for item in &items {
        live.order(std::slice::from_ref(item)).unwrap();
    }
    let signed = live.sign(S0);
    for seen in 0..=items.len() {
        let mut late = Guardian::new();
        for item in &items[..seen] {
            late.order(std::slice::from_ref(item)).unwrap();
        }
        late.replay(S0, &signed).unwrap();
        assert_eq!(late.everything(), live.everything(), "after {seen} items");
    }
    let mut ended = Guardian::new();
    for item in &items {
        ended.order(std::slice::from_ref(item)).unwrap();
    }
    ended.end(S0).unwrap();
    ended.replay(S0, &signed).unwrap();
    assert_eq!(ended.everything(), live.everything(), "after its end");
}

#[test]
fn signed_session_that_differs_from_ours_halts() {
    let mut live = Guardian::new();
    live.order(&[vote_item(vote(1))]).unwrap();
    live.order(&[vote_item(vote(2))]).unwrap();
    let signed = live.sign(S0);
    let is_fork = |result: Result<(), ReplayError>| {
        matches!(result, Err(ReplayError::Stop(Stop::Halt(Halt::Fork { session: S0 }))))
    };

    let mut other = Guardian::new();
    other.order(&[vote_item(vote(5))]).unwrap();
    assert!(is_fork(other.replay(S0, &signed)), "other items");

    let mut longer = Guardian::new();
    for number in 1..4 {
        longer.order(&[vote_item(vote(number))]).unwrap();
    }
    assert!(is_fork(longer.replay(S0, &signed)), "more items");

    let mut shorter = Guardian::new();
    shorter.order(&[vote_item(vote(1))]).unwrap();
    shorter.end(S0).unwrap();
    assert!(is_fork(shorter.replay(S0, &signed)), "ended earlier");

    let mut twice = signed.clone();
    let first = twice.session_outcome.items[0].clone();
    twice.session_outcome.items.push(first);
    assert!(is_fork(Guardian::new().replay(S0, &twice)), "an item that is refused");

    let early = Guardian::new().replay(S1, &signed);
    assert!(matches!(early, Err(ReplayError::OutOfOrder { got: S1, next: S0 })));
}

/// One guardian could make all others halt: it gave them a session with the last item repeated,
/// which has the same root and so the same signatures, and they took it for a fork.
#[test]
fn session_with_a_repeated_tail_is_replayed_as_it_was_signed() {
    let mut signer = Guardian::new();
    let items: Vec<_> = (1..=3).map(|number| transaction_item(&exchange(number, 500))).collect();
    for item in &items {
        signer.order(std::slice::from_ref(item)).unwrap();
    }
    let mut ended = Guardian::new();
    let mut running = Guardian::new();
    for item in &items {
        ended.order(std::slice::from_ref(item)).unwrap();
    }
    running.order(&items[..1]).unwrap();
    let signed = signer.sign(S0);
    let header = signed.session_outcome.header(S0);
    ended.end(S0).unwrap();
    let mut padded = signed.clone();
    let last = padded.session_outcome.items[2].clone();
    padded.session_outcome.items.push(last.clone());
    assert_eq!(padded.session_outcome.header(S0), header, "the signatures hold");
    for mut guardian in [Guardian::new(), running, ended] {
        guardian.replay(S0, &padded).unwrap();
        let snapshot = guardian.store.snapshot();
        let stored = guardian.engine.signed_session(&snapshot, S0).unwrap();
        assert_eq!(stored.as_ref(), Some(&signed));
    }
    let mut forged = signed;
    forged.session_outcome.items.extend([last.clone(), last]);
    let replayed = Guardian::new().replay(S0, &forged);
    assert!(matches!(replayed, Err(ReplayError::Stop(Stop::Halt(Halt::Fork { .. })))));
}

#[test]
fn replay_waits_for_outside_data_like_live_processing() {
    let mut live = Guardian::new();
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    live.facts.blocks.insert(7, Arc::new(genesis.clone()));
    let needy = crate::testing::Vote { rule: Rule::NeedBlock(7), ..vote(1) };
    live.order(&[vote_item(needy)]).unwrap();
    let signed = live.sign(S0);
    let mut late = Guardian::new();
    let blocked = late.replay(S0, &signed);
    assert!(matches!(blocked, Err(ReplayError::Stop(Stop::Blocked(_)))));
    late.facts.blocks.insert(7, Arc::new(genesis));
    late.replay(S0, &signed).unwrap();
    assert_eq!(late.everything(), live.everything());
}

/// A replay began anew at every vote for a block, and held the blocks of all votes before it: a day's
/// blocks in one session were gigabytes, and the session was processed as often as it had votes.
#[test]
fn replay_goes_on_at_the_item_that_lacked_data_without_the_data_of_those_before() {
    let genesis = Arc::new(bitcoin::constants::genesis_block(bitcoin::Network::Regtest));
    let needy = |height| crate::testing::Vote { rule: Rule::NeedBlock(height), ..vote(height) };
    let mut live = Guardian::new();
    live.order(&[transaction_item(&exchange(1, 500))]).unwrap();
    for height in 1..=30 {
        live.facts.blocks.insert(height, genesis.clone());
        live.order(&[vote_item(needy(height))]).unwrap();
    }
    let signed = live.sign(S0);
    let late = Guardian::new();
    let mut replay = late.engine.begin_replay(S0, signed);
    for height in 1..=30 {
        let snapshot = late.store.snapshot();
        let mut facts = Facts::default();
        // The block of the vote before alone does not help.
        facts.blocks.insert(height - 1, genesis.clone());
        let stopped = late.engine.replay(&snapshot, &mut replay, &facts);
        let Err(ReplayError::Stop(Stop::Blocked(Need::Blocks { from, .. }))) = stopped else {
            panic!("not blocked")
        };
        assert_eq!(from, height);
        assert_eq!(replay.items_left() as u64, 31 - height);
    }
    let snapshot = late.store.snapshot();
    let mut facts = Facts::default();
    facts.blocks.insert(30, genesis);
    let batch = late.engine.replay(&snapshot, &mut replay, &facts).unwrap();
    late.store.commit(batch).unwrap();
    assert_eq!(late.everything(), live.everything());
}

/// More than is prepared at once, with a stop in the second portion while the third is at hand.
#[test]
fn replay_in_portions_equals_having_been_there() {
    let genesis = Arc::new(bitcoin::constants::genesis_block(bitcoin::Network::Regtest));
    let needy = crate::testing::Vote { rule: Rule::NeedBlock(7), ..vote(7) };
    let mut items: Vec<_> =
        (1..=1000).map(|number| transaction_item(&exchange(2 * number, 500))).collect();
    items.insert(450, vote_item(needy));
    let mut live = Guardian::new();
    live.facts.blocks.insert(7, genesis.clone());
    for unit in items.chunks(100) {
        live.order(unit).unwrap();
    }
    let signed = live.sign(S0);
    assert_eq!(signed.session_outcome.items.len(), items.len());

    for seen in [0, 100, 400] {
        let mut late = Guardian::new();
        for unit in items[..seen].chunks(100) {
            late.order(unit).unwrap();
        }
        let mut replay = late.engine.begin_replay(S0, signed.clone());
        let snapshot = late.store.snapshot();
        let blocked = late.engine.replay(&snapshot, &mut replay, &Facts::default());
        assert!(matches!(blocked, Err(ReplayError::Stop(Stop::Blocked(_)))));
        assert_eq!(replay.items_left(), items.len() - 450);
        let mut facts = Facts::default();
        facts.blocks.insert(7, genesis.clone());
        let batch = late.engine.replay(&snapshot, &mut replay, &facts).unwrap();
        late.store.commit(batch).unwrap();
        assert_eq!(late.everything(), live.everything(), "after {seen} items");
    }

    let mut forged = signed;
    let first = forged.session_outcome.items[0].clone();
    forged.session_outcome.items.push(first);
    let mut late = Guardian::new();
    late.facts.blocks.insert(7, genesis);
    let replayed = late.replay(S0, &forged);
    assert!(matches!(replayed, Err(ReplayError::Stop(Stop::Halt(Halt::Fork { .. })))));
}

#[test]
fn sessions_replayed_into_one_commit_equal_those_lived_through() {
    let mut live = Guardian::new();
    live.order(&[transaction_item(&exchange(1, 500))]).unwrap();
    let first = live.sign(S0);
    live.order_in(S1, &[transaction_item(&exchange(3, 500)), vote_item(vote(1))]).unwrap();
    let second = live.sign(S1);
    let late = Guardian::new();
    let snapshot = late.store.snapshot();
    let mut writes = WriteSet::new(&snapshot);
    for (session, signed) in [(S0, first), (S1, second)] {
        late.engine.replay_session(&mut writes, session, signed, &late.facts).unwrap();
    }
    late.store.commit(writes.into_batch()).unwrap();
    assert_eq!(late.everything(), live.everything());
}

#[test]
fn dropped_unit_is_not_looked_at_again() {
    let guardian = Guardian::new();
    let snapshot = guardian.store.snapshot();
    let mut writes = WriteSet::new(&snapshot);
    guardian.engine.skip_unit(&mut writes, S0, 0).unwrap();
    guardian.store.commit(writes.into_batch()).unwrap();
    assert_eq!(guardian.engine.progress(&guardian.store.snapshot(), S0).unwrap(), 1);
}
