//! The client half against real server halves.

#![allow(clippy::unwrap_used)]

mod wallet;

use std::collections::BTreeMap;

use bitcoin::secp256k1::{Keypair, Secp256k1};
use moneta_core::TransactionId;
use moneta_module::client::End;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::testing::Federation;
use crate::words::{MintOutput, OutputV0, RecoveryItem};
use wallet::{FEDERATION, Wallet};

/// A federation and a wallet that holds about `amount`.
fn funded(amount: u64) -> (Federation, Wallet) {
    let federation = Federation::new(4, false);
    let mut wallet = Wallet::new(&federation, 1);
    wallet.deposit(&federation, amount);
    assert!(wallet.is_idle());
    assert_eq!(wallet.holdings(), amount - wallet.fees);
    (federation, wallet)
}

fn send(wallet: &mut Wallet, federation: &Federation, amount: u64) -> (OperationId, ECash) {
    let progress = wallet.act(|client, turn| client.send(turn, Msat(amount), None)).unwrap();
    match progress {
        SendProgress::Ready { operation, ecash } => (operation, ecash),
        SendProgress::Pending { operation } => {
            wallet.settle(federation);
            let sent = wallet.client.sent(&wallet.store.snapshot(), operation).unwrap();
            (operation, sent.unwrap())
        }
    }
}

fn receive(
    wallet: &mut Wallet,
    federation: &Federation,
    ecash: &ECash,
) -> Result<OperationId, ReceiveError> {
    let operation = wallet.act(|client, turn| client.receive(turn, ecash))?;
    wallet.settle(federation);
    Ok(operation)
}

/// All notes that exist, in msat, as the guardians count them.
fn outstanding(federation: &Federation) -> u64 {
    let audits = federation.guardians.iter().map(crate::testing::Guardian::audit);
    let audits: Vec<_> = audits.collect();
    assert!(audits.windows(2).all(|pair| pair[0] == pair[1]));
    u64::try_from(-audits[0]).unwrap()
}

#[test]
fn deposit_becomes_notes_worth_it_less_the_fees() {
    let (federation, wallet) = funded(10_000_000);
    assert_eq!(outstanding(&federation), wallet.holdings());
    let counts = wallet.client.denominations(&wallet.store.snapshot()).unwrap();
    assert!(counts[&Denomination(9)] >= 3);
    assert!(wallet.fees < 20_000);
}

/// The wallet of a build that kept no counts looked empty, and could not pay.
#[test]
fn wallet_without_counts_of_its_notes_has_them_all_the_same() {
    let (federation, mut wallet) = funded(1_000_000);
    let held = wallet.holdings();
    wallet.store.update(|writes| stock::forget_counts(writes)).unwrap();
    assert_eq!(wallet.holdings(), held);
    let (_, ecash) = send(&mut wallet, &federation, 100_000);
    let left = wallet.holdings();
    assert!(left < held);
    wallet.store.update(|writes| stock::forget_counts(writes)).unwrap();
    receive(&mut wallet, &federation, &ecash).unwrap();
    assert!(wallet.holdings() > left);
}

#[test]
fn exact_notes_are_sent_at_once_and_received_once() {
    let (federation, mut sender) = funded(10_000_000);
    let before = sender.holdings();
    let send = sender.act(|client, turn| client.send(turn, Msat(1500), None)).unwrap();
    let SendProgress::Ready { operation, ecash } = send else { panic!("the notes are in stock") };
    assert_eq!(sender.end(operation), Some(End::Succeeded));
    assert_eq!(ecash.amount(), Some(Msat(1536)), "rounded up to a multiple of 512");
    assert_eq!(sender.holdings(), before - 1536);
    let text = ecash.to_string();
    let event = sender.notes.last().unwrap();
    assert_eq!((event.kind, &event.payload["ecash"]), ("payment-send", &Value::from(text.clone())));

    let mut receiver = Wallet::new(&federation, 2);
    let ecash: ECash = text.parse().unwrap();
    let operation = receive(&mut receiver, &federation, &ecash).unwrap();
    assert_eq!(receiver.end(operation), Some(End::Succeeded));
    assert_eq!(receiver.holdings(), 1536 - receiver.fees);
    assert_eq!(receiver.notes.last().unwrap().payload["status"], "Success");
    let again = receive(&mut receiver, &federation, &ecash);
    assert!(matches!(again, Err(ReceiveError::AlreadyReceived(id)) if id == operation));
}

#[test]
fn notes_that_are_missing_are_made_first() {
    let (federation, mut wallet) = funded(10_000_000);
    let mut sent = Vec::new();
    // One small note after the other, until the stock has none left.
    let operation = loop {
        let send = wallet.act(|client, turn| client.send(turn, Msat(512), None)).unwrap();
        match send {
            SendProgress::Ready { ecash, .. } => sent.push(ecash),
            SendProgress::Pending { operation } => break operation,
        }
        assert!(sent.len() < 10);
    };
    assert_eq!(wallet.end(operation), None);
    wallet.settle(&federation);
    assert_eq!(wallet.end(operation), Some(End::Succeeded));
    let made = wallet.client.sent(&wallet.store.snapshot(), operation).unwrap().unwrap();
    assert_eq!(made.amount(), Some(Msat(512)));
    assert!(matches!(wallet.client.check(&made), Err(ReceiveError::Uneconomical)));
    let handed_out = 512 * (sent.len() as u64 + 1);
    assert_eq!(outstanding(&federation), wallet.holdings() + handed_out);
}

/// What a shop's till pays again and again: seven notes.
const PAYMENT: u64 = 1_234_000;

/// Pays `count` times, `pause_ms` apart. Returns how many payments had to wait for notes.
fn pay_often(
    wallet: &mut Wallet,
    federation: &Federation,
    count: usize,
    pause_ms: u64,
) -> (usize, u64) {
    let (mut waited, mut handed_out) = (0, 0);
    for _ in 0..count {
        let progress = wallet.act(|client, turn| client.send(turn, Msat(PAYMENT), None)).unwrap();
        waited += usize::from(matches!(progress, SendProgress::Pending { .. }));
        wallet.settle(federation);
        wallet.now = wallet.now.after_ms(pause_ms);
        handed_out += MintClient::sendable(Msat(PAYMENT)).unwrap().0;
        assert!(wallet.is_idle());
    }
    (waited, handed_out)
}

#[test]
fn busy_wallet_makes_notes_before_they_are_wanted_and_pays_no_more_for_it() {
    let (federation, mut busy) = funded(1_000_000_000);
    let before = busy.fees;
    let (waited, handed_out) = pay_often(&mut busy, &federation, 40, 200);
    assert!(waited <= 1, "{waited} of 40 payments waited");
    assert_eq!(outstanding(&federation), busy.holdings() + handed_out);
    let busy_fees = busy.fees - before;

    // The same payments with pauses in which nobody can know whether there will be more.
    let (federation, mut slow) = funded(1_000_000_000);
    let before = slow.fees;
    let (waited, handed_out) = pay_often(&mut slow, &federation, 40, 61_000);
    assert!(waited >= 8, "{waited} of 40 payments waited");
    assert_eq!(outstanding(&federation), slow.holdings() + handed_out);
    assert!(busy_fees <= slow.fees - before, "{busy_fees} and {}", slow.fees - before);
}

#[test]
fn wallet_that_pays_now_and_then_pays_nothing_for_notes_it_may_not_need() {
    let (federation, mut wallet) = funded(1_000_000_000);
    let before = wallet.fees;
    let (waited, _) = pay_often(&mut wallet, &federation, 3, 61_000);
    assert_eq!((waited, wallet.fees), (0, before));
}

#[test]
fn where_notes_cost_nothing_every_wallet_restocks() {
    let federation = Federation::new(4, true);
    let mut wallet = Wallet::new(&federation, 1);
    wallet.deposit(&federation, 1_000_000_000);
    let (waited, handed_out) = pay_often(&mut wallet, &federation, 20, 3_600_000);
    assert_eq!(waited, 0);
    assert_eq!(outstanding(&federation), wallet.holdings() + handed_out);
}

#[test]
fn restock_that_crashes_or_is_rejected_loses_nothing_and_is_made_up_for() {
    let (federation, mut wallet) = funded(1_000_000_000);
    wallet.crash_rate = 0.3;
    let (mut waited, mut handed_out) = (0, 0);
    for round in 0..30 {
        wallet.reject_next = usize::from(round % 3 == 0);
        let (pending, paid) = pay_often(&mut wallet, &federation, 1, 100);
        waited += pending;
        handed_out += paid;
        // A payment whose transaction was refused hands out nothing.
        let refused = wallet.notes.iter().filter(|note| note.kind == "payment-send-failed").count();
        let paid = handed_out - paid * refused as u64;
        let aside: u64 = wallet.set_aside().iter().map(|note| note.value().unwrap().0).sum();
        assert_eq!(outstanding(&federation), wallet.holdings() + paid + aside);
    }
    assert!(!wallet.rejected.is_empty());
    assert!(waited <= 10, "{waited} of 30 payments waited");
    assert!(!stock::is_restocking(&wallet.store.snapshot()).unwrap());
}

#[test]
fn restock_does_not_begin_long_after_the_payment() {
    let (federation, mut wallet) = funded(1_000_000_000);
    let before = wallet.fees;
    // Of a note that the payments below do not take.
    for _ in 0..3 {
        send(&mut wallet, &federation, 2048);
    }
    let restocking = |wallet: &Wallet| stock::is_restocking(&wallet.store.snapshot()).unwrap();
    assert!(!restocking(&wallet), "three payments are not many");
    wallet.act(|client, turn| client.send(turn, Msat(PAYMENT), None)).unwrap();
    wallet.act(|client, turn| client.send(turn, Msat(PAYMENT), None)).unwrap();
    assert!(restocking(&wallet));
    wallet.now = wallet.now.after_ms(5_001);
    wallet.settle(&federation);
    assert!(wallet.is_idle() && !restocking(&wallet));
    assert_eq!(wallet.fees, before);
}

#[test]
fn more_than_there_is_cannot_be_sent() {
    let (_, mut wallet) = funded(100_000);
    let holdings = wallet.holdings();
    // The last amounts cannot be rounded up to notes.
    for amount in [holdings + 1, holdings + 512, 1 << 60, u64::MAX - 511, u64::MAX] {
        let refused = wallet.act(|client, turn| client.send(turn, Msat(amount), None));
        let Err(SendError::Submit(SubmitError::Insufficient { needed, available })) = refused
        else {
            panic!("{amount} was sent")
        };
        assert!(needed > available);
        assert_eq!(wallet.holdings(), holdings);
    }
    let nothing = wallet.act(|client, turn| client.send(turn, Msat(0), None));
    assert!(matches!(nothing, Err(SendError::Zero)));
    let all = wallet.act(|client, turn| client.send(turn, Msat(holdings), None)).unwrap();
    assert!(matches!(all, SendProgress::Ready { .. }));
    assert_eq!(wallet.holdings(), 0);
}

#[test]
fn what_was_sent_can_be_taken_back_until_somebody_received_it() {
    let (federation, mut sender) = funded(10_000_000);
    let (operation, _) = send(&mut sender, &federation, 100_000);
    let back = sender.act(|client, turn| client.cancel(turn, operation)).unwrap();
    sender.settle(&federation);
    assert_eq!(sender.end(back), Some(End::Succeeded));
    assert_eq!(outstanding(&federation), sender.holdings());
    let twice = sender.act(|client, turn| client.cancel(turn, operation));
    assert!(matches!(twice, Err(CancelError::Receive(ReceiveError::AlreadyReceived(_)))));

    let (operation, ecash) = send(&mut sender, &federation, 100_000);
    let mut receiver = Wallet::new(&federation, 2);
    receive(&mut receiver, &federation, &ecash).unwrap();
    let before = sender.holdings();
    let late = sender.act(|client, turn| client.cancel(turn, operation)).unwrap();
    sender.settle(&federation);
    assert_eq!(sender.end(late), Some(End::Failed));
    assert_eq!(sender.holdings(), before);
    let unknown = OperationId([1; 32]);
    let unknown = sender.act(|client, turn| client.cancel(turn, unknown));
    assert!(matches!(unknown, Err(CancelError::NothingSent(_))));
}

/// The reference refunds a rejected bundle in one transaction: one note that was spent already then
/// loses all others.
#[test]
fn one_spent_note_sinks_no_other() {
    let (federation, mut sender) = funded(50_000_000);
    let (_, ecash) = send(&mut sender, &federation, 512 * 65_535);
    let notes: Vec<_> = ecash.notes().copied().collect();
    assert!(notes.len() > 10);
    let stolen = ECash::new(FEDERATION, [notes[7]], None, AmountUnit::BITCOIN);
    let mut thief = Wallet::new(&federation, 3);
    receive(&mut thief, &federation, &stolen).unwrap();

    let mut receiver = Wallet::new(&federation, 2);
    receiver.crash_rate = 0.3;
    let operation = receive(&mut receiver, &federation, &ecash).unwrap();
    assert_eq!(receiver.end(operation), Some(End::Failed));
    let update = &receiver.notes.last().unwrap().payload;
    assert_eq!(update["status"], "Rejected");
    let total = ecash.amount().unwrap().0;
    let lost = notes[7].value().unwrap().0;
    // Halving strands at most a few small notes that cannot pay for a transaction of their own.
    let stranded: u64 = receiver.set_aside().iter().map(|note| note.value().unwrap().0).sum();
    assert!(stranded < lost + 2048);
    assert_eq!(update["refused"], stranded);
    assert_eq!(update["received"], total - stranded);
    assert!(receiver.holdings() > (total - stranded) * 99 / 100);
    let stranded_unspent = stranded - lost;
    assert_eq!(
        outstanding(&federation),
        sender.holdings() + receiver.holdings() + thief.holdings() + stranded_unspent
    );
}

#[test]
fn bad_ecash_is_refused_before_anything_is_sent() {
    let (federation, mut sender) = funded(10_000_000);
    let (_, ecash) = send(&mut sender, &federation, 512 * 1000);
    let notes: Vec<SpendableNote> = ecash.notes().copied().collect();
    let unit = AmountUnit::BITCOIN;
    let of = |notes: Vec<SpendableNote>| ECash::new(FEDERATION, notes, None, unit);
    let wallet = Wallet::new(&federation, 2);
    let refused = |ecash: ECash| wallet.client.check(&ecash).unwrap_err();

    let foreign = ECash::new(moneta_core::FederationId([1; 32]), notes.clone(), None, unit);
    assert!(matches!(refused(foreign), ReceiveError::WrongFederation { found: Some(_), .. }));
    let nobodys = ECash::from_bytes(&[0]).unwrap();
    assert!(matches!(refused(nobodys), ReceiveError::WrongFederation { found: None, .. }));
    let dollars = ECash::new(FEDERATION, notes.clone(), None, AmountUnit(5));
    assert!(matches!(refused(dollars), ReceiveError::WrongUnit { .. }));
    assert!(matches!(refused(of(Vec::new())), ReceiveError::Empty));
    let twice = of([notes.clone(), vec![notes[0]]].concat());
    assert!(matches!(refused(twice), ReceiveError::Duplicate(_)));
    let mut raised = notes.clone();
    raised[1].denomination = Denomination(raised[1].denomination.0 + 5);
    assert!(matches!(refused(of(raised.clone())), ReceiveError::Forged { count: 1 }));
    raised[1].denomination = Denomination(200);
    assert!(matches!(refused(of(raised)), ReceiveError::UnknownDenomination(Denomination(200))));
    let mut tiny = notes[0];
    tiny.denomination = Denomination(6);
    assert!(matches!(refused(of(vec![tiny])), ReceiveError::Uneconomical));
    let smallest = notes.iter().find(|note| note.denomination == Denomination(9));
    if let Some(smallest) = smallest {
        assert!(matches!(refused(of(vec![*smallest])), ReceiveError::Uneconomical));
    }
    assert_eq!(wallet.client.check(&of(notes)).unwrap(), Msat(512 * 1000));
}

#[test]
fn rejected_payment_gives_the_money_back_less_a_fee() {
    let (federation, mut wallet) = funded(10_000_000);
    let before = wallet.holdings();
    wallet.crash_rate = 0.3;
    wallet.reject_next = 1;
    wallet.pay(1_000_000).unwrap();
    assert!(wallet.holdings() < before, "the notes are reserved");
    wallet.settle(&federation);
    assert!(wallet.is_idle());
    assert!(wallet.holdings() > before - 10_000);
    assert_eq!(outstanding(&federation), wallet.holdings());
    assert_eq!(wallet.set_aside(), []);
}

#[test]
fn refund_that_is_rejected_too_is_tried_in_parts() {
    let (federation, mut wallet) = funded(10_000_000);
    let before = wallet.holdings();
    wallet.reject_next = 4;
    wallet.pay(3_000_000).unwrap();
    wallet.settle(&federation);
    assert!(wallet.is_idle());
    let aside: u64 = wallet.set_aside().iter().map(|note| note.value().unwrap().0).sum();
    assert_eq!(outstanding(&federation), wallet.holdings() + aside, "every note is accounted for");
    assert!(wallet.holdings() + aside > before - 20_000);
}

#[test]
fn lying_and_absent_guardians_do_not_stop_issuing() {
    let federation = Federation::new(4, false);
    for liar in 0..4 {
        let mut wallet = Wallet::new(&federation, 50 + liar);
        wallet.meddler = Box::new(move |peer, _, answer| {
            if u64::from(peer.0) != liar {
                return Some(answer);
            }
            // Shares in the wrong order: well-formed, and wrong.
            let mut shares = answer.as_array().cloned().unwrap();
            shares.reverse();
            match liar {
                0 => None,
                1 => Some(Value::from("nonsense")),
                _ => Some(Value::from(shares)),
            }
        });
        let before = outstanding(&federation);
        wallet.deposit(&federation, 5_000_000);
        assert!(wallet.is_idle());
        assert_eq!(wallet.holdings(), outstanding(&federation) - before);
    }
}

#[test]
fn large_ecash_is_received_in_several_transactions() {
    let federation = Federation::new(1, true);
    let mut sender = Wallet::new(&federation, 1);
    sender.deposit(&federation, 1 << 24);
    let mut notes = Vec::new();
    for _ in 0..30 {
        let (_, ecash) = send(&mut sender, &federation, 512 * 1023);
        notes.extend(ecash.notes().copied());
    }
    assert!(notes.len() > 256);
    let total: u64 = notes.iter().map(|note| note.value().unwrap().0).sum();
    let ecash = ECash::new(FEDERATION, notes, None, AmountUnit::BITCOIN);
    let mut receiver = Wallet::new(&federation, 2);
    let operation = receive(&mut receiver, &federation, &ecash).unwrap();
    assert_eq!(receiver.end(operation), Some(End::Succeeded));
    assert!(receiver.holdings() > total - 2 * 512);
    let updates = receiver.notes.iter().filter(|note| note.kind == "payment-receive-update");
    assert_eq!(updates.count(), 1, "the operation ends once");
}

fn recover(federation: &Federation, seed: u64) -> Wallet {
    let mut restored = Wallet::new(federation, seed);
    restored.act(|client, turn| client.begin(turn, true)).unwrap();
    restored.crash_rate = 0.2;
    restored.settle(federation);
    assert!(restored.is_idle());
    restored
}

#[test]
fn wallet_is_recovered_from_its_seed_alone() {
    let (federation, mut wallet) = funded(20_000_000);
    for amount in [1_000_000, 512 * 999, 3_000_000] {
        let (_, ecash) = send(&mut wallet, &federation, amount);
        let mut other = Wallet::new(&federation, amount);
        receive(&mut other, &federation, &ecash).unwrap();
        wallet.pay(300_000).unwrap();
        wallet.settle(&federation);
    }
    let restored = recover(&federation, 1);
    assert_eq!(restored.holdings(), wallet.holdings());
    let snapshots = [&wallet, &restored].map(|wallet| wallet.store.snapshot());
    let counts = snapshots.each_ref().map(|s| wallet.client.denominations(s).unwrap());
    assert_eq!(counts[0], counts[1]);
    let done = restored.notes.last().unwrap();
    assert_eq!(done.kind, "module-recovery-completed");
    assert_eq!(done.payload["amount"], wallet.holdings());
    // Not only found: the notes are good.
    let mut restored = restored;
    restored.pay(1_000_000).unwrap();
    restored.settle(&federation);
    assert_eq!(restored.set_aside(), []);
}

/// Blinded messages and tweaks are public. Somebody repeats outputs of a stranger: at another
/// denomination, and after the note was spent. Neither may stop or fool the stranger's recovery.
#[test]
fn repeated_outputs_of_others_neither_stop_nor_fool_recovery() {
    let (federation, mut wallet) = funded(5_000_000);
    wallet.pay(2_000_000).unwrap();
    wallet.settle(&federation);
    let log = federation.guardians[0].call("recovery_slice", &serde_json::json!([0, 10_000]));
    let Ok(moneta_module::server::Reply::Json(log)) = log else { panic!() };
    let log: Vec<RecoveryItem> = serde_json::from_str(&log).unwrap();
    let mut replayed = 0;
    for item in log {
        let RecoveryItem::Output { denomination, tweak, .. } = item else { continue };
        let keys = wallet.client.secrets.keys(NoteRequest { denomination, tweak });
        for denomination in [denomination, Denomination(0)] {
            let output = OutputV0 { denomination, blinded: keys.blinded(), tweak };
            replayed += 1;
            let txid = TransactionId([replayed; 32]);
            federation.process(txid, &[], &[(0, MintOutput::V0(output))]).unwrap();
        }
    }
    let restored = recover(&federation, 1);
    assert_eq!(restored.holdings(), wallet.holdings());
    assert_eq!(restored.client.unresolved(&restored.store.snapshot()).unwrap(), []);
}

/// Guardians of another make answer with the latest share for a message, here one of no use for
/// the first note of each group. Such notes are found through history.
#[test]
fn notes_whose_shares_by_message_are_of_no_use_are_found_through_history() {
    let (federation, mut wallet) = funded(5_000_000);
    wallet.pay(2_000_000).unwrap();
    wallet.settle(&federation);
    for history_is_lost in [true, false] {
        let mut restored = Wallet::new(&federation, 1);
        restored.act(|client, turn| client.begin(turn, true)).unwrap();
        restored.crash_rate = 0.2;
        restored.meddler = Box::new(|_, endpoint, mut answer| {
            if endpoint == "recovery_signature_shares" {
                answer[0] = Value::from(format!("c0{}", "0".repeat(94)));
            }
            Some(answer)
        });
        let history = federation.history.borrow().clone();
        if history_is_lost {
            federation.history.borrow_mut().clear();
        }
        restored.settle(&federation);
        assert!(restored.is_idle());
        *federation.history.borrow_mut() = history;
        let unresolved = restored.client.unresolved(&restored.store.snapshot()).unwrap();
        assert_eq!(unresolved.is_empty(), !history_is_lost);
        let missing: u64 = unresolved.iter().map(|r| r.denomination.value().unwrap().0).sum();
        assert_eq!(restored.holdings() + missing, wallet.holdings());
    }
}

#[test]
fn wallet_that_is_used_before_recovery_knows_the_log_counts_nothing_twice() {
    let (federation, wallet) = funded(5_000_000);
    let mut restored = Wallet::new(&federation, 1);
    restored.act(|client, turn| client.begin(turn, true)).unwrap();
    restored.meddler =
        Box::new(|_, endpoint, answer| (endpoint != "recovery_count").then_some(answer));
    restored.deposit(&federation, 3_000_000);
    restored.pay(1_000_000).unwrap();
    restored.settle(&federation);
    assert!(!restored.is_idle());
    let own = restored.holdings();
    restored.meddler = Box::new(|_, _, answer| Some(answer));
    restored.settle(&federation);
    assert_eq!(restored.holdings(), own + wallet.holdings());
    assert_eq!(restored.holdings(), outstanding(&federation));
}

#[test]
fn grinder_fills_the_stock_of_tweaks_with_valid_ones_and_rests() {
    let federation = Federation::new(1, true);
    let mut wallet = Wallet::new(&federation, 1);
    let mut machine = Machine::Grinder(0);
    for _ in 0..1000 {
        let now = match &machine {
            Machine::Grinder(next) => *next,
            other => panic!("{other:?}"),
        };
        if now >= GRIND_IDLE_MS {
            break;
        }
        let current = machine.clone();
        let advance = |client: &MintClient, turn: &mut MintTurn<'_>| {
            client.advance(turn, current, Outcome::Due)
        };
        machine = wallet.act(advance).unwrap().unwrap();
    }
    let stock = stock::tweak_count(&wallet.store.snapshot()).unwrap();
    assert!(stock >= TWEAK_STOCK);
    wallet.deposit(&federation, 3000);
    let left = stock::tweak_count(&wallet.store.snapshot()).unwrap();
    let notes = wallet.client.denominations(&wallet.store.snapshot()).unwrap();
    // One for each note of the most frequent denomination.
    assert_eq!(left, stock - usize::try_from(*notes.values().max().unwrap()).unwrap());
}

/// Random traffic between wallets, with rejections and crashes: at the end each msat that exists
/// is in a stock, on its way as e-cash, or set aside.
#[test]
fn random_traffic_conserves_value() {
    let mut rng = StdRng::seed_from_u64(11);
    let federation = Federation::new(4, false);
    let mut wallets: Vec<Wallet> = (1..4).map(|seed| Wallet::new(&federation, seed)).collect();
    for wallet in &mut wallets {
        wallet.deposit(&federation, 4_000_000);
        wallet.crash_rate = 0.2;
    }
    let mut on_the_way: BTreeMap<OperationId, ECash> = BTreeMap::new();
    for _ in 0..25 {
        let from = rng.gen_range(0..wallets.len());
        let wallet = &mut wallets[from];
        wallet.reject_next = usize::from(rng.gen_bool(0.2));
        match rng.gen_range(0..3) {
            0 => {
                let amount = Msat(rng.gen_range(1..2_000_000));
                match wallet.act(|client, turn| client.send(turn, amount, None)) {
                    Ok(
                        SendProgress::Ready { operation, .. } | SendProgress::Pending { operation },
                    ) => {
                        wallet.settle(&federation);
                        let snapshot = wallet.store.snapshot();
                        if let Some(ecash) = wallet.client.sent(&snapshot, operation).unwrap() {
                            on_the_way.insert(operation, ecash);
                        }
                    }
                    Err(SendError::Submit(SubmitError::Insufficient { .. })) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            1 => match wallet.pay(rng.gen_range(1..200_000)) {
                Ok(_) | Err(SubmitError::Insufficient { .. }) => {}
                Err(other) => panic!("{other}"),
            },
            _ => {
                let Some((operation, ecash)) = on_the_way.pop_first() else { continue };
                match receive(wallet, &federation, &ecash) {
                    Ok(_) => {}
                    Err(ReceiveError::Uneconomical) => {
                        on_the_way.insert(operation, ecash);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        wallet.settle(&federation);
        assert!(wallet.is_idle());
    }
    let stocks: u64 = wallets.iter().map(Wallet::holdings).sum();
    let moving: u64 = on_the_way.values().map(|ecash| ecash.amount().unwrap().0).sum();
    let aside = wallets.iter().flat_map(Wallet::set_aside);
    let aside: u64 = aside.map(|note| note.value().unwrap().0).sum();
    assert_eq!(outstanding(&federation), stocks + moving + aside);
    let restored = recover(&federation, 1);
    assert!(restored.holdings() >= wallets[0].holdings());
}

#[test]
fn debug_shows_no_secrets() {
    let (federation, mut wallet) = funded(1_000_000);
    let (_, ecash) = send(&mut wallet, &federation, 10_240);
    let key = Keypair::from_secret_key(
        &Secp256k1::new(),
        &ecash.notes().next().unwrap().key.secret_key(),
    );
    let secret = hex::encode(key.secret_bytes());
    let bundle = Bundle {
        purpose: Purpose::Change,
        notes: ecash.notes().copied().collect(),
        requests: Vec::new(),
    };
    assert!(!format!("{:?} {bundle:?} {ecash:?}", wallet.client).contains(&secret));
}

/// A rejected transaction's outputs were forgotten. A guardian that had it ordered later, when the
/// fee that was too low was enough, took the whole deposit out of the wallet's sight.
#[test]
fn notes_of_a_rejected_transaction_that_was_accepted_after_all_are_found() {
    let federation = Federation::new(4, false);
    let mut wallet = Wallet::new(&federation, 1);
    wallet.reject_next = 1;
    wallet.deposit(&federation, 10_000_000);
    assert!(wallet.is_idle());
    assert_eq!(wallet.holdings(), 0);
    assert_eq!(wallet.pass(&federation, 1), 0, "it is not due yet");
    assert!(wallet.order_rejected(&federation));
    assert_eq!(wallet.pass(&federation, 60_000), 1);
    assert!(wallet.is_idle());
    assert_eq!(wallet.holdings(), outstanding(&federation));
    assert_eq!(wallet.holdings(), 10_000_000 - wallet.fees);
    let event = wallet.notes.last().unwrap();
    assert_eq!(event.kind, "notes-of-rejected-transaction");
    assert_eq!(event.payload["amount"], wallet.holdings());
    assert_eq!(wallet.pass(&federation, 86_400_000), 0, "and are not looked for any more");
}

#[test]
fn rejected_transaction_is_looked_at_four_times_and_forgotten() {
    let (federation, mut wallet) = funded(10_000_000);
    wallet.reject_next = 1;
    wallet.pay(50_000).unwrap();
    wallet.settle(&federation);
    // The notes are reissued, so it can never happen.
    assert!(!wallet.order_rejected(&federation));
    let holdings = wallet.holdings();
    assert_eq!(holdings, outstanding(&federation));
    for pause in [60_000, 600_000, 3_600_000, 86_400_000] {
        assert_eq!(wallet.pass(&federation, pause / 2), 0);
        assert_eq!(wallet.pass(&federation, pause / 2), 1);
        assert!(wallet.is_idle());
    }
    assert_eq!(wallet.pass(&federation, 1_000_000_000), 0);
    assert_eq!(wallet.holdings(), holdings);
}

#[test]
fn crash_at_any_turn_of_a_late_acceptance_loses_nothing() {
    let federation = Federation::new(4, false);
    let mut wallet = Wallet::new(&federation, 1);
    wallet.crash_rate = 0.5;
    for _ in 0..4 {
        wallet.reject_next = 1;
        wallet.deposit(&federation, 1_000_000);
        assert!(wallet.order_rejected(&federation));
    }
    assert_eq!(wallet.pass(&federation, 60_000), 4);
    assert_eq!(wallet.holdings(), outstanding(&federation));
}

#[test]
fn refusals_are_told_in_the_words_of_the_protocol() {
    use moneta_core::envelope::{InputErrorEnvelope, OutputErrorEnvelope};
    let federation = Federation::new(4, false);
    let wallet = Wallet::new(&federation, 1);
    let text = |failure| wallet.client.failure_text(failure);
    let spent = InputErrorEnvelope::new(wallet::INSTANCE, &MintInputError::SpentCoin);
    assert_eq!(text(ModuleFailure::Input(&spent)).unwrap(), "The note is already spent");
    let odd = OutputErrorEnvelope::new(wallet::INSTANCE, &MintOutputError::InvalidDenomination);
    let words = "The note has an invalid amount not issued by the mint";
    assert_eq!(text(ModuleFailure::Output(&odd)).unwrap(), words);
    let unknown = InputErrorEnvelope::from_raw(wallet::INSTANCE, vec![9, 0]);
    assert_eq!(text(ModuleFailure::Input(&unknown)), None);
}
