use moneta_core::Msat;
use moneta_module::client::{End, Outcome};
use serde_json::json;

use super::super::{Deposit, DepositStatus, Machine, Scanner};
use super::world::{VALID_INDICES, World};
use crate::words::WalletInputError;

/// A wallet with an address that was paid. The search that follows is short.
fn paid(value: u64) -> World {
    let mut world = World::near_first_address();
    world.settle();
    pay_and_find(&mut world, value);
    world
}

/// Pays the current address and has the scanner find it.
fn pay_and_find(world: &mut World, value: u64) {
    let address = world.address();
    let start = world.log.len();
    world.pay(Some(&address), value, false);
    world.now = world.now.after_ms(10_000);
    world.advance(0, Outcome::Due);
    let answer = json!(world.log[start..]);
    world.advance(0, Outcome::Answer(answer));
    let next = if start == 0 { VALID_INDICES[1] } else { VALID_INDICES[2] };
    world.search_from(next - 10);
}

#[test]
fn deposit_is_claimed_once_whatever_crashes() {
    let mut world = World::near_first_address();
    world.crashes = true;
    world.settle();
    pay_and_find(&mut world, 60_000);
    world.settle();
    let [claim] = &world.claims()[..] else { panic!("one claim") };
    assert_eq!((claim.output_index, claim.fee.to_sat()), (0, 316));
    let (txid, draft) = &world.transactions[0];
    let txid = *txid;
    assert_eq!(draft.inputs[0].amount, Msat(59_684_000));
    assert_eq!(draft.inputs[0].fee, Msat(100_000));
    assert_eq!(draft.inputs[0].key.public_key(), claim.tweak);
    assert_eq!(world.deposits()[0].status, DepositStatus::Claiming { txid });
    // The same output is shown again and again, and the wallet is reopened: nothing is done twice.
    world.pass_ms(600_000);
    assert_eq!(world.transactions.len(), 1);

    world.decide_last(Outcome::Accepted);
    assert_eq!(world.deposits()[0].status, DepositStatus::Claimed { txid });
    assert_eq!(world.operations.len(), 1);
    let (id, operation) = world.operations.first_key_value().unwrap();
    assert_eq!((operation.kind, *id), ("deposit", world.client.deposit_operation(0)));
    let [received] = world.notes("payment-receive")[..] else { panic!("one event") };
    assert_eq!(
        *received,
        json!({
            "operation_id": id, "value": 60_000, "fee": 316, "federation_fee_msat": 100_000,
            "address": "bcrt1qxh95cacm78sewz243j5dgr93dnkmunratzg2wn2y6vxgq9jjq4us0ej4lx",
            "outpoint": format!("{}:0", bitcoin::OutPoint::null().txid),
        })
    );
    let updates = world.notes("payment-receive-update");
    assert_eq!(updates, [&json!({ "operation_id": id, "status": "Success" })]);
    assert!(world.notes.iter().all(|(operation, _)| operation == &Some(*id)));
    assert_eq!(world.notes.last().unwrap().1.end, Some(End::Succeeded));
    assert_eq!(world.machines.len(), 1, "only the scanner stays");
}

#[test]
fn uneconomical_deposit_is_kept_until_fees_fall() {
    let mut world = paid(1_000);
    world.fee = Some(5_000);
    world.settle();
    let status = |world: &World| world.deposits()[0].status.clone();
    assert!(matches!(status(&world), DepositStatus::Uneconomical { fee } if fee.to_sat() == 5_000));
    // Too little is left after the federation's own fee of 100 sat, too.
    for fee in [899, 900, 895, 1001] {
        world.fee = Some(fee);
        world.pass_ms(600_000);
        assert!(matches!(status(&world), DepositStatus::Uneconomical { .. }), "{fee}");
    }
    assert_eq!(world.transactions.len(), 0);
    world.fee = Some(500);
    world.pass_ms(600_000);
    assert_eq!(world.claims()[0].fee.to_sat(), 500);
    world.decide_last(Outcome::Accepted);
    assert!(matches!(status(&world), DepositStatus::Claimed { .. }));
}

#[test]
fn claim_waits_while_much_is_pending_and_while_there_is_no_feerate() {
    let mut world = paid(60_000);
    world.pending = 3;
    world.settle();
    assert_eq!(world.transactions.len(), 0);
    assert_eq!(world.deposits()[0].status, DepositStatus::Queued);
    (world.pending, world.fee) = (2, None);
    world.pass_ms(30_000);
    assert_eq!(world.transactions.len(), 0);
    world.fee = Some(632);
    world.pass_ms(30_000);
    assert_eq!(world.claims()[0].fee.to_sat(), 632);
}

/// It once waited for the queue without a word, and its owner with it.
#[test]
fn deposit_below_the_fee_is_told_while_much_is_pending() {
    let mut world = paid(1_000);
    (world.pending, world.fee) = (3, Some(2_000));
    world.settle();
    let status = world.deposits()[0].status.clone();
    assert!(matches!(status, DepositStatus::Uneconomical { fee } if fee.to_sat() == 2_000));
    // With room the fee is lower, so it is looked at as soon as any.
    (world.pending, world.fee) = (0, Some(316));
    world.pass_ms(30_000);
    assert_eq!(world.transactions.len(), 1);
}

/// The second deposit was once seen only after the search for the next address.
#[test]
fn deposits_to_one_address_are_seen_together_and_the_good_one_is_claimed() {
    let mut world = World::near_first_address();
    world.settle();
    let address = world.address();
    for value in [400, 20_000, 350] {
        world.pay(Some(&address), value, false);
    }
    world.now = world.now.after_ms(10_000);
    world.advance(0, Outcome::Due);
    let log = json!(world.log);
    world.advance(0, Outcome::Answer(log));
    assert_eq!(world.deposits().len(), 3);
    // Reading goes on behind the first: an entry behind it may pay the next address.
    let scanner = &world.machines[&0].machine;
    assert!(matches!(scanner, Machine::Scan(Scanner::Search { next_output: 1, .. })));
    world.search_from(VALID_INDICES[1] - 10);
    world.settle();
    world.decide_last(Outcome::Accepted);
    world.pass_ms(2_000);
    let told = |found: &Deposit| match found.status {
        DepositStatus::Claimed { .. } => "claimed",
        DepositStatus::Uneconomical { .. } => "uneconomical",
        _ => "other",
    };
    let told: Vec<_> = world.deposits().iter().map(told).collect();
    assert_eq!(told, ["uneconomical", "claimed", "uneconomical"]);
    assert_eq!((world.transactions.len(), world.operations.len()), (1, 3));
}

#[test]
fn rejected_claim_is_tried_again_with_a_fresh_fee_in_the_same_operation() {
    let mut world = paid(60_000);
    world.settle();
    world.fee = Some(700);
    world.reject_last(&WalletInputError::InsufficientTotalFee);
    assert_eq!(world.deposits()[0].status, DepositStatus::Waiting);
    assert_eq!(world.transactions.len(), 1, "not at once");
    world.pass_ms(1000);
    assert_eq!(world.claims()[1].fee.to_sat(), 700);
    world.reject_last(&WalletInputError::NoConsensusFeerateAvailable);
    world.pass_ms(1000);
    assert_eq!(world.transactions.len(), 2, "pauses grow");
    world.pass_ms(1000);
    world.decide_last(Outcome::Accepted);
    assert_eq!(world.operations.len(), 1);
    let statuses: Vec<_> =
        world.notes("payment-receive-update").iter().map(|note| note["status"].clone()).collect();
    assert_eq!(statuses, [json!("Aborted"), json!("Aborted"), json!("Success")]);
    let ends: Vec<_> = world.notes.iter().filter_map(|(_, note)| note.end).collect();
    assert_eq!(ends, [End::Succeeded]);
}

#[test]
fn deposit_that_another_wallet_claimed_is_given_up() {
    let mut world = paid(60_000);
    world.settle();
    world.reject_last(&WalletInputError::OutputAlreadySpent);
    assert_eq!(world.deposits()[0].status, DepositStatus::ClaimedElsewhere);
    assert_eq!(world.notes.last().unwrap().1.end, Some(End::Failed));
    world.pass_ms(3_600_000);
    assert_eq!(world.transactions.len(), 1);
}

#[test]
fn claims_go_one_after_the_other() {
    let mut world = paid(60_000);
    world.settle();
    pay_and_find(&mut world, 70_000);
    world.pass_ms(60_000);
    assert_eq!(world.deposits().len(), 2);
    assert_eq!(world.transactions.len(), 1);
    world.decide_last(Outcome::Accepted);
    world.pass_ms(2000);
    assert_eq!(world.claims()[1].output_index, 1);
    world.decide_last(Outcome::Accepted);
    assert!(
        world.deposits().iter().all(|found| matches!(found.status, DepositStatus::Claimed { .. }))
    );
}
