//! Several guardians in one process, over links with a delay.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::{fs, time::Duration};

use moneta_consensus::{Event, Pacing, Participation, SubmitError};
use tokio::time::Instant;
use world::{Guardian, World, items, soon};

const LINK: Duration = Duration::from_millis(1);
const MINUTES: Duration = Duration::from_secs(600);

fn quick() -> Pacing {
    Pacing { round_delay: Duration::from_millis(2), ..Pacing::default() }
}

/// Sessions that end only when asked.
fn endless() -> Pacing {
    Pacing { max_age: MINUTES, ..quick() }
}

/// Waits until all order together, by an item that all receive.
async fn begin(guardians: &mut [Guardian]) {
    guardians[0].submit(b"begun");
    for guardian in guardians {
        guardian.events_to(b"begun").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_guardians_order_the_same() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    for (me, guardian) in guardians.iter().enumerate() {
        for i in 0..50 {
            guardian.submit(format!("item {i} of {me}").as_bytes());
        }
    }
    for guardian in &guardians {
        guardian.until("all own items ordered", |status| status.items_queued == 0).await;
    }
    // Ordered by each of its creators; so an item after all of these closes the comparison.
    guardians[0].submit(b"last");
    let mut logs = Vec::new();
    for guardian in &mut guardians {
        logs.push(guardian.events_to(b"last").await);
    }
    assert_eq!(items(&logs[0]).len(), 201);
    assert!(logs.iter().all(|log| *log == logs[0]));
    for (expected, event) in logs[0].iter().enumerate() {
        let Event::Ordered { session: 0, position, creator, items, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!(*position, expected as u64);
        let of_creator = format!("of {creator}");
        assert!(items.iter().all(|item| {
            item == b"last" || String::from_utf8(item.clone()).unwrap().ends_with(&of_creator)
        }));
    }
}

/// As a wallet's transaction, which comes to every guardian a moment after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relayed_item_is_left_to_whoever_proposed_it_first() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    for guardian in &guardians {
        guardian.until("calm", |status| status.since_progress > 100 * LINK).await;
    }
    // Nothing can be ordered while two are cut off, so the first one's unit stands in the graph.
    world.cut(2, true);
    world.cut(3, true);
    let next_unit = Some(guardians[0].broadcast.status().round);
    guardians[0].broadcast.relay(b"payment".to_vec()).unwrap();
    guardians[1].until("it is here", |status| status.peers[0].last_round >= next_unit).await;
    guardians[1].broadcast.relay(b"payment".to_vec()).unwrap();
    assert_eq!(guardians[1].broadcast.status().items_in_flight, 1);
    world.cut(2, false);
    world.cut(3, false);
    for guardian in &guardians {
        guardian.broadcast.link_restored(0);
        guardian.until("all settled", |status| status.items_queued == 0).await;
    }
    guardians[0].submit(b"last");
    for guardian in &mut guardians {
        let log = guardian.events_to(b"last").await;
        assert_eq!(items(&log).iter().filter(|item| *item == b"payment").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn item_takes_far_less_than_an_idle_round_and_idle_rounds_are_slow() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    guardians[0].submit(b"warm-up");
    guardians[0].events_to(b"warm-up").await;
    let mut latencies = Vec::new();
    for i in 0..20 {
        let item = format!("item {i}").into_bytes();
        let submitted = Instant::now();
        guardians[i % 4].submit(&item);
        guardians[i % 4].events_to(&item).await;
        latencies.push(submitted.elapsed());
        for other in (0..4).filter(|other| *other != i % 4) {
            guardians[other].events_to(&item).await;
        }
    }
    latencies.sort();
    assert!(latencies[10] < Duration::from_millis(500), "median of {latencies:?}");
    // Let the heat of the last item go: from here on nothing was queued.
    guardians[0].until("idle", |status| status.since_progress > 200 * LINK).await;
    let (before, began) = (guardians[0].broadcast.status().round, Instant::now());
    guardians[0].until("three more rounds", |status| status.round >= before + 3).await;
    assert!(began.elapsed() > Duration::from_millis(1500), "idle rounds take about a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_edges_pass_without_a_stall_while_a_guardian_is_dead() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    world.kill(3, guardians.pop().unwrap()).await;
    for session in 0..4 {
        let item = format!("item for session {session}").into_bytes();
        guardians[1].submit(&item);
        for guardian in &mut guardians {
            guardian.events_to(&item).await;
        }
        guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
        let mut logs = Vec::new();
        for guardian in &mut guardians {
            logs.push(guardian.session(session).await);
        }
        let first = format!("first of session {}", session + 1).into_bytes();
        guardians[2].submit(&first);
        for guardian in &mut guardians {
            guardian.events_to(&first).await;
            guardian.broadcast.session_signed(session);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edge_takes_a_moment_once_the_next_session_was_held_long_enough() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    world.kill(3, guardians.pop().unwrap()).await;
    // Session 0 itself starts after the collection's 5 s, and so is session 1 collected then.
    begin(&mut guardians).await;
    guardians[0].submit(b"collected");
    for guardian in &mut guardians {
        guardian.events_to(b"collected").await;
    }
    let began = Instant::now();
    guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
    for guardian in &mut guardians {
        guardian.session(0).await;
    }
    guardians[0].submit(b"after the edge");
    for guardian in &mut guardians {
        guardian.events_to(b"after the edge").await;
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_by_age_and_all_agree_on_their_content() {
    let world = World::new(4, LINK, Pacing { max_age: Duration::from_millis(300), ..quick() });
    let mut guardians = world.start_all().await;
    for i in 0..40 {
        guardians[i % 4].submit(format!("item {i}").as_bytes());
    }
    for session in 0..3 {
        let mut logs = Vec::new();
        for guardian in &mut guardians {
            logs.push(guardian.session(session).await);
        }
        assert!(logs.iter().all(|log| *log == logs[0]), "session {session}");
        guardians.iter().for_each(|guardian| guardian.broadcast.session_signed(session));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_that_is_not_signed_holds_back_the_next_but_one() {
    let world = World::new(4, LINK, Pacing { max_age: Duration::from_millis(100), ..quick() });
    let mut guardians = world.start_all().await;
    for guardian in &mut guardians {
        guardian.session(0).await;
        guardian.session(1).await;
    }
    for guardian in &guardians {
        assert!(world.unit_file(0, 0).exists());
        assert_eq!(guardian.broadcast.status().oldest_session, 0);
    }
    guardians.iter().for_each(|guardian| guardian.broadcast.session_signed(0));
    for guardian in &mut guardians {
        guardian.session(2).await;
    }
    let deleted = async {
        while world.unit_file(0, 0).exists() {
            tokio::time::sleep(LINK).await;
        }
    };
    soon("the file of a signed session is deleted", deleted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_in_mid_session_orders_the_same_again_and_goes_on() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    for i in 0..20 {
        guardians[i % 4].submit(format!("item {i}").as_bytes());
    }
    guardians[0].until("own items ordered", |status| status.items_queued == 0).await;
    guardians[3].submit(b"before");
    let mut before = Vec::new();
    for guardian in &mut guardians {
        before.push(guardian.events_to(b"before").await);
    }
    world.kill(3, guardians.pop().unwrap()).await;
    guardians[0].submit(b"meanwhile");
    let mut revived = world.start(3, 0).await;
    let again = revived.events_to(b"before").await;
    assert_eq!(again, before[0], "the same events from the session's beginning");
    revived.events_to(b"meanwhile").await;
    revived.until("takes part", |status| status.participation == Participation::Active).await;
    revived.submit(b"after");
    revived.events_to(b"after").await;
    for guardian in &mut guardians {
        let log = guardian.events_to(b"after").await;
        let by_revived = |event: &Event| matches!(event, Event::Ordered { creator: 3, .. });
        assert!(by_revived(log.last().unwrap()), "its new units are in everybody's graph");
    }
}

/// When a session is signed the file of a later one is made and its own is deleted, beside whatever
/// else goes on. A guardian that dies before either is done takes part as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_while_unit_files_change_costs_no_participation() {
    for has_new_file in [true, false] {
        let world = World::new(4, LINK, endless());
        let mut guardians = world.start_all().await;
        begin(&mut guardians).await;
        guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
        for guardian in &mut guardians {
            guardian.session(0).await;
        }
        let (old, new) = (world.unit_file(3, 0), world.unit_file(3, 2));
        let old_content = fs::read(&old).unwrap();
        guardians.iter().for_each(|guardian| guardian.broadcast.session_signed(0));
        let changed = async {
            while old.exists() || !new.exists() {
                tokio::time::sleep(LINK).await;
            }
        };
        soon("the files have changed", changed).await;
        world.kill(3, guardians.pop().unwrap()).await;
        fs::write(&old, old_content).unwrap();
        if !has_new_file {
            fs::remove_file(&new).unwrap();
        }
        guardians.push(world.start(3, 1).await);
        assert!(!old.exists());
        for (session, item) in [(1, b"first"), (2, b"later")] {
            guardians[3].submit(item);
            for guardian in &mut guardians {
                let log = guardian.events_to(item).await;
                let Some(Event::Ordered { session: of, creator, .. }) = log.last() else {
                    panic!("{log:?}")
                };
                assert_eq!((*of, *creator), (session, 3), "with the new file: {has_new_file}");
            }
            guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
            for guardian in &mut guardians {
                guardian.session(session).await;
                guardian.broadcast.session_signed(session);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn item_in_a_unit_that_nobody_saw_survives_a_restart() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    world.mute(3, true);
    let lonely = guardians.pop().unwrap();
    lonely.submit(b"unseen");
    lonely.until("in a unit", |status| status.items_in_flight == 1).await;
    // Taken by a unit is not saved yet; the next unit proves that this one is.
    let taken_by = lonely.broadcast.status().round;
    lonely.until("the unit is saved", |status| status.round > taken_by).await;
    world.kill(3, lonely).await;
    world.mute(3, false);
    let mut revived = world.start(3, 0).await;
    revived.events_to(b"unseen").await;
    for guardian in &mut guardians {
        guardian.events_to(b"unseen").await;
    }
    assert_eq!(revived.broadcast.status().items_queued, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unordered_item_is_submitted_again_in_the_next_session() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    world.mute(3, true);
    let mut lonely = guardians.pop().unwrap();
    lonely.submit(b"too late");
    lonely.until("in a unit", |status| status.items_in_flight == 1).await;
    guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
    for guardian in guardians.iter_mut().chain([&mut lonely]) {
        let log = guardian.session(0).await;
        assert!(!items(&log).contains(&b"too late".to_vec()));
        guardian.broadcast.session_signed(0);
    }
    world.mute(3, false);
    for guardian in guardians.iter_mut().chain([&mut lonely]) {
        let log = guardian.events_to(b"too late").await;
        assert!(matches!(log.last(), Some(Event::Ordered { session: 1, creator: 3, .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guardian_with_a_damaged_or_missing_file_sits_out_and_others_go_on() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    let path = world.unit_file(3, 0);
    for (reason, damage) in [
        (Participation::UnitFileDamaged, Some(100)),
        // A second restart does not forget it.
        (Participation::UnitFileDamaged, None),
        (Participation::UnitFileMissing, Some(usize::MAX)),
        (Participation::UnitFileMissing, None),
    ] {
        world.kill(3, guardians.pop().unwrap()).await;
        match damage {
            Some(usize::MAX) => fs::remove_file(&path).unwrap(),
            Some(at) => {
                let mut bytes = fs::read(&path).unwrap();
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            None => {}
        }
        let mut silent = world.start(3, 0).await;
        assert_eq!(silent.broadcast.status().participation, reason);
        silent.submit(b"from the silent");
        guardians[0].submit(format!("{reason:?} {damage:?}").as_bytes());
        let item = format!("{reason:?} {damage:?}").into_bytes();
        for guardian in guardians.iter_mut().chain([&mut silent]) {
            guardian.events_to(&item).await;
        }
        let status = silent.broadcast.status();
        assert_eq!((status.items_in_flight, status.restarts), (0, 0), "it creates nothing");
        guardians.push(silent);
    }
    guardians.iter().for_each(|guardian| guardian.broadcast.close_session());
    for guardian in &mut guardians {
        guardian.session(0).await;
    }
    for guardian in &mut guardians {
        guardian.events_to(b"from the silent").await;
    }
    assert_eq!(guardians[3].broadcast.status().participation, Participation::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guardian_restored_from_an_old_copy_sits_out_and_says_so() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    let path = world.unit_file(3, 0);
    let old = fs::read(&path).unwrap();
    guardians[3].submit(b"newer");
    for guardian in &mut guardians {
        guardian.events_to(b"newer").await;
    }
    world.kill(3, guardians.pop().unwrap()).await;
    fs::write(&path, old).unwrap();
    let mut silent = world.start(3, 0).await;
    let reason = Participation::PeersKnowNewerUnits;
    silent.until("told by its peers", |status| status.participation == reason).await;
    guardians[0].submit(b"others go on");
    for guardian in guardians.iter_mut().chain([&mut silent]) {
        guardian.events_to(b"others go on").await;
    }
    assert_eq!(silent.broadcast.status().restarts, 0);
}

/// Guardian 0 ticks often, so that it is always one unit ahead and waits for its peers, who
/// sleep in their long tick. Returns a world in that state.
async fn one_ahead(wake_hints: bool) -> (World, Vec<Guardian>) {
    let sleepy = Pacing { idle_tick: MINUTES, ..endless() };
    let restless = Pacing { idle_tick: Duration::from_millis(20), wake_hints, ..sleepy.clone() };
    let world = World::new(4, LINK, sleepy);
    let mut guardians = vec![world.start_with(0, 0, restless).await];
    for me in 1..4 {
        guardians.push(world.start(me, 0).await);
    }
    let quiet = |status: &moneta_consensus::Status| {
        let others = status.peers[1..].iter().map(|peer| peer.last_round);
        let ahead = status.peers[0].last_round > others.max().flatten();
        ahead && status.since_progress > Duration::from_millis(300)
    };
    guardians[0].until("one ahead of all others", quiet).await;
    (world, guardians)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_hint_brings_the_item_of_a_guardian_that_is_ahead() {
    let (world, mut guardians) = one_ahead(true).await;
    guardians[0].submit(b"urgent");
    for guardian in &mut guardians {
        guardian.events_to(b"urgent").await;
    }
    assert!(world.wakes() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_wake_hint_that_item_waits_for_the_idle_tick() {
    let (world, mut guardians) = one_ahead(false).await;
    guardians[0].submit(b"urgent");
    let waiting = tokio::time::timeout(Duration::from_secs(2), guardians[0].events.next());
    assert!(waiting.await.is_err());
    assert_eq!(world.wakes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_link_mends_a_stuck_session_at_once() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    world.cut(2, true);
    world.cut(3, true);
    guardians[0].submit(b"stuck");
    guardians[0].until("stuck", |s| s.since_progress > Duration::from_millis(2500)).await;
    world.cut(2, false);
    world.cut(3, false);
    let restored = Instant::now();
    for (me, guardian) in guardians.iter().enumerate() {
        (0..4).filter(|peer| *peer != me).for_each(|peer| guardian.broadcast.link_restored(peer));
    }
    for guardian in &mut guardians {
        guardian.events_to(b"stuck").await;
    }
    assert!(restored.elapsed() < Duration::from_millis(2500), "{:?}", restored.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_refuses_and_largest_items_pass() {
    let world = World::new(4, LINK, Pacing { queue_items: 3, ..endless() });
    // Alone, guardian 0 orders nothing.
    let mut guardians = vec![world.start(0, 0).await];
    guardians[0].submit(&[7; 50_000]);
    let too_long = guardians[0].broadcast.submit(vec![7; 50_001]);
    assert_eq!(too_long, Err(SubmitError::TooLong { size_bytes: 50_001 }));
    guardians[0].submit(b"second");
    guardians[0].submit(b"third");
    assert_eq!(guardians[0].broadcast.submit(b"x".to_vec()), Err(SubmitError::QueueFull));
    for me in 1..4 {
        guardians.push(world.start(me, 0).await);
    }
    let log = guardians[3].events_to(b"third").await;
    assert_eq!(items(&log), [vec![7; 50_000], b"second".to_vec(), b"third".to_vec()]);
    guardians[0].until("settled", |status| status.items_queued == 0).await;
    guardians[0].submit(b"again");
    let stopped = guardians.remove(0);
    stopped.broadcast.shutdown().await;
    assert_eq!(stopped.broadcast.submit(b"x".to_vec()), Err(SubmitError::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_a_peer_changes_nothing() {
    let world = World::new(4, LINK, endless());
    let mut guardians = world.start_all().await;
    begin(&mut guardians).await;
    let request = |from: u64, creator: u64| {
        let mut frame = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        frame.extend_from_slice(&from.to_le_bytes());
        frame.extend_from_slice(&[3, 0]);
        frame.extend_from_slice(&creator.to_le_bytes());
        frame
    };
    for frame in [vec![], vec![9; 100], request(1, 1 << 40), request(77, 2), request(3, 4)] {
        guardians[0].broadcast.deliver(1, frame.clone());
        guardians[0].broadcast.deliver(55, frame);
    }
    guardians[0].submit(b"still here");
    for guardian in &mut guardians {
        guardian.events_to(b"still here").await;
    }
    assert_eq!(guardians[0].broadcast.status().restarts, 0);
}
