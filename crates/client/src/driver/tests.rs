#![allow(clippy::unwrap_used)]

pub(crate) mod bank;
mod world;

use moneta_core::id::OperationId;
use moneta_module::client::{End, SubmitError};
use moneta_store::testing::Fault;
use serde_json::json;

use self::bank::{BANK, Bank, Step, ask_beside, fund, pay, pay_proving, spend_later};
use self::world::{Guardian, World};
use super::*;
use crate::history;

fn end_of(world: &World, id: OperationId) -> Option<End> {
    history::operation(&world.driver().view(), id).unwrap().unwrap().end
}

fn kinds_of(world: &World, id: OperationId) -> Vec<String> {
    let events = history::events_of(&world.driver().view(), id).unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

#[test]
fn accepted_payment_ends_well_and_leaves_the_change() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    assert_eq!(world.driver().balance().unwrap(), Msat(0), "the change is not there yet");
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
    assert_eq!(world.driver().balance().unwrap(), Msat(690), "fee 10");
    assert_eq!(kinds_of(&world, id), ["tx-created", "tx-accepted", "payment-send-update"]);
    assert_eq!(world.driver().pending(), (0, 0));
}

#[test]
fn one_faulty_guardian_of_four_neither_decides_nor_delays() {
    for faulty in [Guardian::Dead, Guardian::Lying, Guardian::Refusing, Guardian::Rejecting] {
        let mut world = World::new(4);
        world.guardians[2] = faulty;
        world.act(|bank, turn| fund(bank, turn, 1_000));
        let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
        let begun = world.now;
        world.run();
        assert_eq!(end_of(&world, id), Some(End::Succeeded), "{faulty:?}");
        assert_eq!(world.now, begun, "nothing was waited for with {faulty:?}");
    }
}

#[test]
fn rejected_payment_gives_the_money_back() {
    let mut world = World::new(4);
    world.guardians = vec![Guardian::Rejecting; 4];
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Failed));
    assert_eq!(world.driver().balance().unwrap(), Msat(1_000));
    assert_eq!(kinds_of(&world, id), ["tx-created", "tx-rejected", "payment-send-update"]);
}

#[test]
fn rejection_by_less_than_a_threshold_leaves_the_fate_open() {
    let mut world = World::new(4);
    world.guardians[0] = Guardian::Rejecting;
    world.guardians[1] = Guardian::Rejecting;
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run_for(60_000);
    assert_eq!(end_of(&world, id), None);
    world.guardians = vec![Guardian::Honest; 4];
    world.run_for(60_000);
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
}

#[test]
fn transaction_taken_but_not_ordered_is_submitted_again_with_pauses() {
    let mut world = World::new(4);
    world.guardians = vec![Guardian::Forgetful; 4];
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run_for(31_000);
    // At 0, 2, 6, 14 and 30 seconds to each guardian; at the threshold the fourth may be cut off.
    assert!((15..=20).contains(&world.submits), "{}", world.submits);
}

#[test]
fn crash_between_commit_and_send_resumes_with_the_same_transaction() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    let before = history::events_of(&world.driver().view(), id).unwrap();
    assert_eq!(world.submits, 0, "nothing has left yet");
    world.restart();
    assert_eq!(world.driver().pending(), (1, 2));
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
    assert_eq!(world.accepted.len(), 1);
    let txid = world.accepted.iter().next().unwrap();
    assert_eq!(before[0].payload["txid"], json!(txid));
}

#[test]
fn crash_at_any_commit_loses_no_money_and_pays_once() {
    let id = OperationId([7; 32]);
    let scenario = |world: &mut World| -> Result<(), StoreError> {
        if world.driver().balance()? == Msat(0) && world.driver().pending() == (0, 0) {
            let fund = world.try_act(|bank, turn| fund(bank, turn, 1_000));
            fund.map_err(world::store_failure)?.unwrap();
        }
        match world.try_act(|bank, turn| pay(bank, turn, 300, Some(id))) {
            Ok(_) | Err(ActError::Action(SubmitError::OperationExists(_))) => {}
            Err(ActError::Action(SubmitError::Store(failure)) | ActError::Store(failure)) => {
                return Err(failure);
            }
            Err(error) => panic!("{error}"),
        }
        world.try_run()
    };
    let mut crashes = 0;
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::FailBefore, Fault::FailAfter] {
        for nth in 1.. {
            let mut world = World::new(4);
            world.disk.strike(nth, fault);
            let mut struck = false;
            while scenario(&mut world).is_err() {
                struck = true;
                world.restart();
            }
            assert_eq!(end_of(&world, id), Some(End::Succeeded), "{fault:?} at {nth}");
            assert_eq!(world.driver().balance().unwrap(), Msat(690), "{fault:?} at {nth}");
            assert_eq!(world.accepted.len(), 1, "{fault:?} at {nth}");
            if !struck {
                break;
            }
            crashes += 1;
        }
    }
    // At the funding, at the payment, and when it is accepted.
    assert!(crashes >= 3 * 4, "the faults struck {crashes} times");
}

#[test]
fn acceptance_and_what_follows_from_it_are_one_commit() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    let commits = world.disk.attempts();
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
    assert_eq!(world.driver().balance().unwrap(), Msat(690));
    assert_eq!(world.disk.attempts(), commits + 1);
}

#[test]
fn answers_that_prove_acceptance_settle_it_in_one_commit_and_nobody_is_asked_for_it() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| pay_proving(bank, turn, 300, false)).unwrap();
    let commits = world.disk.attempts();
    world.run();
    assert_eq!(world.disk.attempts(), commits + 1);
    assert_eq!(world.driver().balance().unwrap(), Msat(690 + 400), "change, and what is owed");
    assert_eq!((world.driver().pending(), world.confirms), ((0, 0), 0));
}

#[test]
fn acceptance_is_asked_for_when_its_proof_does_not_come() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| pay_proving(bank, turn, 300, true)).unwrap();
    world.run_for(900);
    assert_eq!((world.driver().pending(), world.confirms), ((1, 2), 0));
    world.run_for(200);
    assert_eq!(
        (world.driver().pending(), world.confirms),
        ((0, 1), 4),
        "the proof is still awaited"
    );
    assert_eq!(world.driver().balance().unwrap(), Msat(690));
}

#[test]
fn nobody_hears_of_a_turn_before_it_is_committed() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|_: &Bank, turn| turn.spawn(&Step::Timed { at_ms: 0 }));
    world.driver_mut().take_events();
    world.disk.strike(1, Fault::CrashBefore);
    let now = world.now.after_ms(1_000);
    // The turn submits a transaction: neither its calls nor its events may be seen.
    assert!(world.driver_mut().poll(now).is_err());
    assert_eq!(world.driver_mut().take_events(), []);
    world.restart();
    world.run_for(1_000);
    assert_eq!(world.driver().balance().unwrap(), Msat(990), "the turn was taken again");
    assert_eq!(world.accepted.len(), 1);
}

/// A world in which a transaction is accepted, and nobody waits for that but for answers, which are
/// here.
fn accepted_in_passing() -> World {
    let mut world = World::new(4);
    world.act(ask_beside).unwrap();
    let commits = world.disk.attempts();
    world.run();
    assert_eq!(world.driver().balance().unwrap(), Msat(400));
    assert_eq!(world.driver().pending(), (0, 0));
    assert_eq!(world.disk.attempts(), commits + 1, "that of the answers");
    world
}

fn notes_acceptance(world: &World) -> bool {
    let events = history::events_from(&world.driver().view(), 0, 100).unwrap();
    events.iter().any(|event| event.kind == "tx-accepted")
}

#[test]
fn acceptance_nobody_waits_for_is_committed_with_the_next_turn_or_soon() {
    let mut world = accepted_in_passing();
    assert!(!notes_acceptance(&world));
    let commits = world.disk.attempts();
    world.act(|bank, turn| fund(bank, turn, 5));
    assert_eq!(world.disk.attempts(), commits + 1);
    assert!(notes_acceptance(&world));

    let mut world = accepted_in_passing();
    world.run_for(1_000);
    assert!(notes_acceptance(&world));
    assert_eq!(world.driver().next_wakeup(), None);

    let mut world = accepted_in_passing();
    world.driver_mut().flush().unwrap();
    assert!(notes_acceptance(&world));
}

#[test]
fn acceptance_lost_in_a_crash_is_found_again_and_nothing_happens_twice() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        let mut world = accepted_in_passing();
        world.disk.strike(1, fault);
        world.now = world.now.after_ms(1_000);
        assert!(world.try_run().is_err());
        world.restart();
        world.run_for(1_000);
        assert!(notes_acceptance(&world), "{fault:?}");
        assert_eq!(world.driver().pending(), (0, 0), "{fault:?}");
        assert_eq!(world.driver().balance().unwrap(), Msat(400), "{fault:?}");
        assert_eq!(world.accepted.len(), 1, "{fault:?}");
    }
}

#[test]
fn action_that_was_not_committed_leaves_what_was_staged() {
    let mut world = accepted_in_passing();
    world.disk.strike(1, Fault::Refuse);
    let refused = world.try_act(|bank, turn| pay(bank, turn, 300, None));
    assert!(matches!(refused, Err(ActError::Store(StoreError::NotCommitted { .. }))));
    world.run_for(1_000);
    assert!(notes_acceptance(&world));
}

#[test]
fn same_operation_twice_is_refused_and_pays_once() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = OperationId([7; 32]);
    world.act(|bank, turn| pay(bank, turn, 100, Some(id))).unwrap();
    world.run();
    let again = world.act(|bank, turn| pay(bank, turn, 100, Some(id)));
    assert!(matches!(again, Err(SubmitError::OperationExists(known)) if known == id));
    world.run();
    assert_eq!(world.accepted.len(), 1);
    assert_eq!(history::operations(&world.driver().view(), 10).unwrap().len(), 1);
}

#[test]
fn insufficient_funds_leave_nothing_reserved_and_nothing_written() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let commits = world.disk.attempts();
    let refused = world.act(|bank, turn| pay(bank, turn, 2_000, None));
    assert!(matches!(
        refused,
        Err(SubmitError::Insufficient { needed: Msat(2_010), available: Msat(1_000) })
    ));
    assert_eq!(world.disk.attempts(), commits);
    assert_eq!(world.driver().balance().unwrap(), Msat(1_000));
    assert_eq!(world.driver().pending(), (0, 0));
}

#[test]
fn turn_that_goes_on_after_a_failed_submission_keeps_nothing_of_it() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|_: &Bank, turn| {
        let failed = turn.submit(bank::output_draft(2_000));
        assert!(matches!(failed, Err(SubmitError::Insufficient { .. })));
        turn.state().put(vec![9], vec![1]);
    });
    assert_eq!(world.driver().balance().unwrap(), Msat(1_000));
    assert_eq!(world.driver().pending(), (0, 0));
}

#[test]
fn answers_of_a_call_are_judged_by_the_module_and_a_bad_one_does_not_count() {
    for faulty in [Guardian::Dead, Guardian::Lying, Guardian::Refusing] {
        let mut world = World::new(4);
        world.guardians[3] = faulty;
        world.act(|_: &Bank, turn| turn.spawn(&Step::Owed));
        world.run();
        assert_eq!(world.driver().balance().unwrap(), Msat(300), "{faulty:?}");
    }
}

#[test]
fn call_that_was_out_at_a_crash_is_made_again() {
    let mut world = World::new(4);
    world.act(|_: &Bank, turn| turn.spawn(&Step::Owed));
    let now = world.now;
    assert_eq!(world.driver_mut().poll(now).unwrap().len(), 4);
    world.restart();
    world.run();
    assert_eq!(world.driver().balance().unwrap(), Msat(400), "all four answered at once");
}

#[test]
fn machine_that_cannot_go_on_now_is_tried_again_and_others_run() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|_: &Bank, turn| turn.spawn(&Step::Later { ready_at_ms: 1_000_000 + 10_000 }));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
    assert_eq!(world.driver().pending(), (0, 1));
    // Pauses of 1, 2, 4 and 8 seconds.
    world.run_for(15_000);
    assert_eq!(world.driver().pending(), (0, 0));
}

/// A machine that could not go on was offered the same refusal again and again, and the guardians
/// were never asked a second time before the wallet was closed and opened.
#[test]
fn refused_call_is_made_again_after_a_pause() {
    let mut world = World::new(4);
    world.guardians =
        vec![Guardian::Refusing, Guardian::Refusing, Guardian::Honest, Guardian::Honest];
    world.act(|_: &Bank, turn| turn.spawn(&Step::Owed));
    world.run();
    assert_eq!(world.driver().pending(), (0, 1));
    world.guardians = vec![Guardian::Honest; 4];
    world.run_for(5_000);
    assert_eq!(world.driver().pending(), (0, 0));
    assert_eq!(world.driver().balance().unwrap(), Msat(400));
}

#[test]
fn transaction_that_nobody_takes_is_told_after_a_minute_and_then_less_and_less_often() {
    let mut world = World::new(4);
    world.guardians = vec![Guardian::Dead; 4];
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let id = world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run_for(59_000);
    let stalled = |world: &mut World| {
        let events = world.driver_mut().take_events();
        let stalled = events.into_iter().filter(|event| event.kind == "tx-submission-stalled");
        stalled.collect::<Vec<_>>()
    };
    assert_eq!(stalled(&mut world), []);
    assert!(!world.driver().unsettled()[0].is_stalled);
    world.run_for(1_000);
    let told = stalled(&mut world);
    let unsettled = world.driver().unsettled()[0];
    assert!(unsettled.is_stalled);
    let expected = json!({
        "txid": unsettled.txid, "operation_id": id, "attempt": 1, "elapsed_s": 60,
    });
    assert_eq!((told.len(), &told[0].payload, told[0].position), (1, &expected, None));
    assert!(!kinds_of(&world, id).contains(&"tx-submission-stalled".to_owned()), "it passes");
    // At 1, 3, 7, 15, 31 and 63 minutes.
    world.run_for(63 * 60_000);
    assert_eq!(stalled(&mut world).len(), 5);

    // A restart is no reason for an alarm before anything was tried again.
    world.restart();
    world.run();
    assert_eq!(stalled(&mut world), []);
    world.guardians = vec![Guardian::Honest; 4];
    world.restart();
    world.run();
    assert_eq!(end_of(&world, id), Some(End::Succeeded));
    assert!(world.driver().unsettled().is_empty());
}

/// With a clock that was in the future for a while, timers of that time were due in years.
#[test]
fn clock_set_back_between_two_lives_does_not_lengthen_a_wait() {
    let mut world = World::new(1);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let year_ms = 365 * 86_400_000;
    world.now = world::START.after_ms(year_ms);
    let at = world.now.after_ms(5_000);
    world.act(move |bank, turn| spend_later(bank, turn, at));
    world.run();
    world.restart();
    world.now = world::START;
    world.run_for(4_000);
    assert_eq!(world.driver().balance().unwrap(), Msat(1_000));
    world.run_for(2_000);
    assert_eq!(world.driver().balance().unwrap(), Msat(990));
}

/// The driver went on with what it had in memory, and an action made again was done twice.
#[test]
fn driver_that_does_not_know_whether_it_committed_takes_no_more_actions() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.disk.strike(1, Fault::FailAfter);
    let unknown = world.try_act(|bank, turn| pay(bank, turn, 300, None));
    assert!(matches!(unknown, Err(ActError::Store(StoreError::CommitUnknown { .. }))));
    let again = world.try_act(|bank, turn| pay(bank, turn, 300, None));
    assert!(matches!(again, Err(ActError::Store(StoreError::Stopped))));
    let now = world.now;
    assert!(matches!(world.driver_mut().poll(now), Err(StoreError::Stopped)));
    world.restart();
    world.run();
    assert_eq!(world.driver().balance().unwrap(), Msat(690), "the first one happened");

    world.disk.strike(1, Fault::Refuse);
    let refused = world.try_act(|bank, turn| pay(bank, turn, 300, None));
    assert!(matches!(refused, Err(ActError::Store(StoreError::NotCommitted { .. }))));
    world.try_act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
}

#[test]
fn driver_whose_poll_failed_takes_no_more_actions() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|_: &Bank, turn| turn.spawn(&Step::Later { ready_at_ms: 0 }));
    world.disk.strike(1, Fault::Refuse);
    let now = world.now;
    assert!(world.driver_mut().poll(now).is_err());
    let act = world.try_act(|bank, turn| pay(bank, turn, 300, None));
    assert!(matches!(act, Err(ActError::Store(StoreError::Stopped))));
}

#[test]
fn machine_with_a_broken_invariant_is_parked_and_seen() {
    let mut world = World::new(4);
    world.act(|_: &Bank, turn| turn.spawn(&Step::Broken));
    world.run();
    let parked = history::parked(&world.driver().view()).unwrap();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.contains("broken on purpose"));
    assert_eq!(world.driver().pending(), (0, 0));
    let events = history::events_from(&world.driver().view(), 0, 100).unwrap();
    assert_eq!(events.last().unwrap().kind, "machine-parked");
    world.restart();
    world.run();
    let again = history::events_from(&world.driver().view(), 0, 100).unwrap();
    assert_eq!(again.len(), events.len(), "parking the same again is no news");
}

#[test]
fn machine_wakes_at_its_time_and_not_before() {
    let mut world = World::new(1);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| spend_later(bank, turn, Timestamp(world::START.0 + 5_000)));
    world.run();
    assert_eq!(world.driver().next_wakeup(), Some(Timestamp(world::START.0 + 5_000)));
    assert_eq!(world.driver().balance().unwrap(), Msat(1_000));
    world.run_for(5_000);
    assert_eq!(world.driver().balance().unwrap(), Msat(990));
}

/// Searches took turns of some ten milliseconds one after the other, and every step of a payment waited
/// for one of them.
#[test]
fn machine_whose_time_has_come_lets_a_payment_go_first_and_not_for_ever() {
    let mut world = World::new(4);
    world.guardians = vec![Guardian::Dead; 4];
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.act(|bank, turn| fund(bank, turn, 1_000));
    let at = world.now.after_ms(1_000);
    world.act(move |bank, turn| spend_later(bank, turn, at));
    world.run_for(1_200);
    assert_eq!(world.driver().pending().0, 1, "a transaction is under way");
    world.run_for(100);
    assert_eq!(world.driver().pending().0, 2, "it takes its turn all the same");
}

/// A wallet that looked again and again for the address that it was searching kept the search from its
/// turns: a minute for what takes seconds.
#[test]
fn machine_gives_way_to_no_question_of_the_user_and_to_no_payment_that_is_stuck() {
    let mut world = World::new(4);
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| spend_later(bank, turn, Timestamp(world::START.0 + 5)));
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.run_for(10);
    assert_eq!(world.driver().balance().unwrap(), Msat(990));

    world.guardians = vec![Guardian::Dead; 4];
    world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.run_for(10_000);
    let at = world.now.after_ms(5);
    world.act(move |bank, turn| spend_later(bank, turn, at));
    world.run_for(10);
    assert_eq!(world.driver().pending().0, 2);
}

#[test]
fn modules_begin_once() {
    let mut world = World::new(1);
    world.driver_mut().begin(false, world::START).unwrap();
    world.driver_mut().begin(false, world::START).unwrap();
    assert_eq!(bank::begun(&world.driver().module_view(BANK)), 1);
    world.restart();
    world.driver_mut().begin(true, world::START).unwrap();
    assert_eq!(bank::begun(&world.driver().module_view(BANK)), 1);
}

#[test]
fn unknown_module_is_refused() {
    let mut world = World::new(1);
    let other = ModuleInstanceId::new(99);
    let refused =
        world.driver_mut().act(other, world::START, |_: &Bank, _| Ok::<_, SubmitError>(()));
    assert!(matches!(refused, Err(ActError::NoSuchModule(instance)) if instance == other));
}

#[test]
fn calls_of_a_finished_query_are_abandoned() {
    let mut world = World::new(4);
    world.guardians[3] = Guardian::Dead;
    world.act(|bank, turn| fund(bank, turn, 1_000));
    world.act(|bank, turn| pay(bank, turn, 300, None)).unwrap();
    world.run();
    let abandoned = world.driver_mut().take_abandoned();
    assert!(!abandoned.is_empty());
    for id in abandoned {
        world.driver_mut().on_response(id, Ok(json!("late")), world::START);
    }
    assert!(world.driver_mut().poll(world::START).unwrap().is_empty());
}
