use moneta_core::FederationSize;
use moneta_module::client::{ClientModule as _, Env, Outcome, Timestamp};
use moneta_module::setup::OpenError;
use serde_json::json;

use super::super::addresses::INDICES_PER_TURN;
use super::super::{AddressError, HintError, Machine, Scanner, WalletClient};
use super::world::{INSTANCE, VALID_INDICES, World};

#[test]
fn first_address_is_found_part_by_part_and_without_locking_up_the_driver() {
    let mut world = World::near_first_address();
    let start = VALID_INDICES[0] - 300;
    let early = world.act(|client, turn| client.address(turn));
    assert!(matches!(early, Err(AddressError::Searching { examined }) if examined == start));
    world.advance(0, Outcome::Due);
    let Machine::Scan(Scanner::Search { until_ms, .. }) = world.machines[&0].machine else {
        panic!("the search is over too early");
    };
    assert!(until_ms > world.now.0, "other work comes before the next part");
    let later = world.act(|client, turn| client.address(turn));
    let expected = start + INDICES_PER_TURN;
    assert!(matches!(later, Err(AddressError::Searching { examined }) if examined == expected));
    world.settle();
    assert_eq!(
        world.act(|client, turn| client.address(turn)).unwrap().to_string(),
        "bcrt1qxh95cacm78sewz243j5dgr93dnkmunratzg2wn2y6vxgq9jjq4us0ej4lx"
    );
}

#[test]
fn search_from_the_start_finds_the_first_address_of_the_reference() {
    // 172,250 candidates: some ten seconds.
    let mut world = World::new();
    world.settle();
    assert_eq!(
        world.address().to_string(),
        "bcrt1qxh95cacm78sewz243j5dgr93dnkmunratzg2wn2y6vxgq9jjq4us0ej4lx"
    );
}

#[test]
fn next_address_comes_after_a_deposit_and_is_matched_at_once() {
    let mut world = World::near_first_address();
    world.settle();
    let first = world.address();
    world.pay(None, 5, false);
    world.pay(Some(&first), 60_000, false);
    // Until the search is over nothing behind the deposit is looked at.
    world.now = world.now.after_ms(10_000);
    world.advance(0, Outcome::Due);
    let log = json!(world.log);
    world.advance(0, Outcome::Answer(log));
    assert!(matches!(
        world.machines[&0].machine,
        Machine::Scan(Scanner::Search { next_output: 2, .. })
    ));
    world.search_from(VALID_INDICES[1] - 100);
    world.settle();
    let second = world.address();
    assert_ne!(first, second);
    world.pay(Some(&second), 70_000, false);
    world.pay(Some(&first), 80_000, false);
    world.now = world.now.after_ms(10_000);
    world.advance(0, Outcome::Due);
    let log = json!(world.log[2..]);
    world.advance(0, Outcome::Answer(log));
    world.search_from(VALID_INDICES[2] - 100);
    world.settle();
    // A deposit to an address that was used before is found as well.
    let found: Vec<_> =
        world.deposits().iter().map(|found| (found.address_index, found.value.to_sat())).collect();
    let [one, two, _] = VALID_INDICES;
    assert_eq!(found, [(one, 60_000), (two, 70_000), (one, 80_000)]);
}

#[test]
fn restored_wallet_walks_the_log_and_claims_only_what_is_unspent() {
    let mut world = World::new();
    let addresses: Vec<_> = VALID_INDICES
        .iter()
        .map(|index| {
            let mut other = World::new();
            other.act(|client, turn| client.hint_address(turn, *index)).unwrap()
        })
        .collect();
    world.pay(Some(&addresses[0]), 50_000, true);
    world.pay(Some(&addresses[1]), 60_000, false);
    world.act(|client, turn| client.hint_address(turn, VALID_INDICES[0])).unwrap();
    world.advance(0, Outcome::Due);
    let log = json!(world.log);
    world.advance(0, Outcome::Answer(log));
    world.search_from(VALID_INDICES[1] - 10);
    // The search stops at the second address; its deposit is found only then.
    for _ in 0..2 {
        world.now = world.now.after_ms(1);
        world.advance(0, Outcome::Due);
        if !matches!(world.machines[&0].machine, Machine::Scan(Scanner::Search { .. })) {
            break;
        }
    }
    let log = json!(world.log[1..]);
    world.advance(0, Outcome::Answer(log));
    assert_eq!(world.deposits().len(), 1);
    assert_eq!(world.deposits()[0].value.to_sat(), 60_000);
}

#[test]
fn hint_is_checked_and_ends_the_search() {
    let mut world = World::new();
    let wrong = world.act(|client, turn| client.hint_address(turn, 0));
    assert!(matches!(wrong, Err(HintError::NotValid(0))));
    let second = world.act(|client, turn| client.hint_address(turn, VALID_INDICES[1])).unwrap();
    let older = world.act(|client, turn| client.hint_address(turn, VALID_INDICES[0])).unwrap();
    assert_eq!(second, older, "a newer address stays");
    world.settle();
    assert!(matches!(world.machines[&0].machine, Machine::Scan(Scanner::Idle { .. })));
    assert_eq!(world.address(), second);
}

#[test]
fn pauses_are_short_only_while_the_user_waits() {
    let mut world = World::near_first_address();
    world.settle();
    let pause = |world: &World| match world.machines[&0].machine {
        Machine::Scan(Scanner::Idle { until_ms, .. }) => until_ms - world.now.0,
        _ => panic!("the scanner is not idle"),
    };
    assert_eq!(pause(&world), 10_000);
    world.act(|client, turn| client.watch(turn, 15_000)).unwrap();
    world.pass_ms(10_000);
    assert_eq!(pause(&world), 1000);
    world.pass_ms(10_000);
    assert_eq!(pause(&world), 10_000);
    world.act(|client, turn| client.address(turn)).unwrap();
    world.act(|client, turn| client.watch(turn, 1)).unwrap();
    world.pass_ms(60_000);
    assert_eq!(pause(&world), 1000, "a shorter wish does not end a longer one");
}

#[test]
fn long_run_of_hidden_entries_does_not_end_the_scan() {
    let mut world = World::near_first_address();
    world.settle();
    world.log = vec![None; 3000];
    let address = world.address();
    world.pay(Some(&address), 60_000, false);
    for _ in 0..8 {
        world.now = world.now.after_ms(10_000);
        world.advance(0, Outcome::Due);
        let wait = world.client.wait(&world.machines[&0].machine, None).call.unwrap();
        let (start, end): (u64, u64) = serde_json::from_value(wait.params).unwrap();
        let is_shown = (start..end).contains(&3000);
        let answer = if is_shown { json!(world.log[3000..]) } else { json!([]) };
        world.advance(0, Outcome::Answer(answer));
        if is_shown {
            assert_eq!(world.deposits().len(), 1);
            return;
        }
    }
    panic!("the deposit was never seen");
}

#[test]
fn end_is_seen_only_when_everything_was_read_and_searched() {
    let mut world = World::near_first_address();
    let end_seen = |world: &World| world.client.end_seen_at(&world.store.snapshot()).unwrap();
    assert_eq!(end_seen(&world), None);
    let first = {
        let mut other = World::new();
        other.act(|client, turn| client.hint_address(turn, VALID_INDICES[0])).unwrap()
    };
    world.log = vec![None; 2000];
    world.pay(Some(&first), 60_000, false);
    while matches!(world.machines[&0].machine, Machine::Scan(Scanner::Search { .. })) {
        world.now = world.now.after_ms(1);
        world.advance(0, Outcome::Due);
    }
    // A whole short slice of hidden entries looks like the end, and is not.
    world.advance(0, Outcome::Answer(json!([])));
    assert_eq!(end_seen(&world), None);
    world.advance(0, Outcome::Answer(json!(world.log[2000..])));
    assert_eq!(world.deposits().len(), 1);
    // The next address is searched: what pays it may stand right behind.
    assert_eq!(end_seen(&world), None);
    world.search_from(VALID_INDICES[1] - 100);
    world.settle();
    assert_eq!(end_seen(&world), Some(world.now));
}

#[test]
fn end_is_seen_by_the_short_slice_where_the_long_one_is_refused() {
    let mut world = World::near_first_address();
    let refused = || Outcome::CallRefused { code: 400, message: String::new() };
    while matches!(world.machines[&0].machine, Machine::Scan(Scanner::Search { .. })) {
        world.now = world.now.after_ms(1);
        world.advance(0, Outcome::Due);
    }
    world.advance(0, refused());
    assert_eq!(world.client.end_seen_at(&world.store.snapshot()).unwrap(), None);
    world.now = world.now.after_ms(10_000);
    world.advance(0, Outcome::Due);
    world.advance(0, Outcome::Answer(json!([])));
    assert_eq!(world.client.end_seen_at(&world.store.snapshot()).unwrap(), None);
    world.advance(0, refused());
    assert_eq!(world.client.end_seen_at(&world.store.snapshot()).unwrap(), Some(world.now));
}

/// A guardian may refuse a range that is longer than its clients use. Counting only empty answers
/// had the scanner ask for the long one for ever, and so find no deposit any more.
#[test]
fn refused_long_slice_is_not_asked_for_again_at_once() {
    let mut world = World::near_first_address();
    world.settle();
    let mut long = 0;
    for _ in 0..24 {
        world.now = world.now.after_ms(10_000);
        world.advance(0, Outcome::Due);
        let wait = world.client.wait(&world.machines[&0].machine, None).call.unwrap();
        let (start, end): (u64, u64) = serde_json::from_value(wait.params).unwrap();
        if end - start > 1000 {
            long += 1;
            let message = String::new();
            world.advance(0, Outcome::CallRefused { code: 400, message });
        } else {
            world.advance(0, Outcome::Answer(json!([])));
        }
    }
    assert_eq!(long, 3);
}

#[test]
fn answers_that_make_no_sense_change_nothing() {
    let mut world = World::near_first_address();
    world.settle();
    let address = world.address();
    world.pay(Some(&address), 60_000, false);
    let mut far = json!(world.log);
    far[0]["index"] = json!(1_000_000);
    let nonsense =
        [Outcome::Answer(json!("no")), Outcome::Answer(far), Outcome::Disagreement, Outcome::Due];
    for outcome in nonsense {
        world.now = world.now.after_ms(10_000);
        world.advance(0, Outcome::Due);
        world.advance(0, outcome);
        let Machine::Scan(Scanner::Idle { next_output, until_ms, .. }) = world.machines[&0].machine
        else {
            panic!("the scanner does not pause");
        };
        assert_eq!((next_output, Timestamp(until_ms)), (0, world.now.after_ms(10_000)));
        assert_eq!(world.deposits(), []);
    }
}

#[test]
fn config_of_another_size_does_not_open() {
    let world = World::new();
    let env = Env {
        instance: INSTANCE,
        federation: moneta_core::FederationId([3; 32]),
        size: FederationSize::new(5).unwrap(),
        secret: moneta_crypto::derive::DerivableSecret::root(&[0; 32], &[0; 32]),
    };
    let opened = WalletClient::new(env, world.client.config().clone());
    assert!(matches!(opened.err(), Some(OpenError::Mismatch(_))));
}
