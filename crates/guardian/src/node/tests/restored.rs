//! A guardian restored from its backup must not speak where its former self may have spoken.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moneta_core::api::endpoint;
use moneta_core::{GuardianMetadata, SessionIndex};
use serde_json::{Value, json};

use super::world::{LOOK, Place, World};
use crate::node::{NodeError, Pace};
use crate::testing::{coin, transaction};

const PATIENCE: Duration = Duration::from_secs(150);

/// The one that is restored.
const LOST: u16 = 3;

pub(super) fn short_sessions() -> Pace {
    let mut pace = Pace::test();
    pace.consensus.max_age = Duration::from_secs(3);
    pace.consensus.solo_max_age = Duration::from_secs(1);
    pace
}

fn session_of(status: &Value) -> u64 {
    status["session"].as_u64().unwrap()
}

/// The newest round in which guardian [`LOST`] spoke, as another one knows it.
fn last_round(status: &Value) -> Option<u64> {
    status["peers"][LOST.to_string()]["last_round"].as_u64()
}

/// What a guardian sees of [`LOST`]: its newest round of every session.
async fn watch(place: Place, from: u16) -> BTreeMap<u64, Option<u64>> {
    let mut seen = BTreeMap::new();
    loop {
        let status = place.call(from, "moneta_consensus_status", Value::Null).await;
        if let Some(status) = status.filter(|status| status["peers"].is_object()) {
            let round = last_round(&status);
            let newest = seen.entry(session_of(&status)).or_insert(round);
            *newest = round.max(*newest);
            let is_over = seen.len() > 3 && round.is_some();
            if is_over {
                return seen;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A machine dies in the middle of a session in which its guardian has spoken. Restored from the
/// backup at once, and killed twice on the way back, the guardian follows, but no other ever sees a
/// unit of it in that session or the next. Then it takes part, and all have one history.
#[tokio::test(flavor = "multi_thread")]
async fn restored_guardian_is_silent_where_its_former_self_may_have_spoken() {
    let story = async {
        let mut world = World::of_four(Place(1), short_sessions()).await;
        let place = world.place;
        world.await_sessions(0, 1).await;
        let backup = world.backup(LOST).await;
        let first = transaction(&[coin(1, 1000)], &[coin(2, 1000)]);
        world.submit(0, &first).await.unwrap().0.unwrap();
        // In a session that is young enough to last until it is restored.
        let spoken = |status: &Value| last_round(status).is_some_and(|round| round < 2);
        let status = world.status_until(0, spoken).await;
        let dead_in = session_of(&status);
        world.stop(LOST).await;
        world.restore(LOST, &backup);

        let watcher = tokio::spawn(watch(place, 0));
        world.start(LOST);
        world.status_until(LOST, |status| status["participation"] == "InDoubt").await;
        world.kill(LOST).await;
        world.start(LOST);
        let sits_out =
            world.status_until(LOST, |status| status["participation"] == "UnitFileMissing").await;
        let entered = session_of(&sits_out);
        assert!(entered >= dead_in, "it entered session {entered} and died in {dead_in}");
        // It reads along: what is accepted now is known to it, too.
        let second = transaction(&[coin(3, 1000)], &[coin(4, 1000)]);
        world.submit(1, &second).await.unwrap().0.unwrap();
        world.submit(LOST, &second).await.unwrap().0.unwrap();
        world.kill(LOST).await;
        world.start(LOST);
        let status = world.status(LOST).await;
        assert_ne!(status["participation"], "Active", "it forgot its silence: {status}");

        let seen = watcher.await.unwrap();
        let spoke_again = *seen.last_key_value().unwrap().0;
        for (session, round) in &seen {
            let taint = dead_in < *session && *session < entered + 2;
            assert!(!taint || round.is_none(), "it spoke in session {session}: {seen:?}");
        }
        assert!(spoke_again >= entered + 2, "entered in {entered}: {seen:?}");
        let third = transaction(&[coin(5, 1000)], &[coin(6, 1000)]);
        world.submit(LOST, &third).await.unwrap().0.unwrap();
        world.await_sessions(0, spoke_again + 1).await;
        let mut items = 0;
        for session in 0..=spoke_again {
            let outcome = world.outcome(0, session).await;
            items += outcome.items.len();
            for index in 1..4 {
                world.await_sessions(index, session + 1).await;
                assert_eq!(world.outcome(index, session).await, outcome, "at {index}");
            }
        }
        assert!(items >= 2, "{items}");
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}

/// A guardian that had moved lost its machine. Restored, it signed metadata with the address of its
/// configuration, newer than what all others held, and every wallet asked at the old address again.
#[tokio::test(flavor = "multi_thread")]
async fn restored_guardian_stays_where_it_had_moved_to() {
    let story = async {
        let mut world = World::of_four(Place(10), short_sessions()).await;
        let place = world.place;
        let backup = world.backup(LOST).await;
        let metadata = async |index| {
            let all = place.call(index, endpoint::GUARDIAN_METADATA, Value::Null).await.unwrap();
            all[LOST.to_string()].clone()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let moved = GuardianMetadata {
            api_urls: vec!["ws://moved.example.com/".parse().unwrap()],
            pkarr_id_z32: "abc".to_owned(),
            timestamp_secs: now + 1,
            iroh_next_endpoint: None,
        };
        let moved = place.call(LOST, endpoint::SIGN_GUARDIAN_METADATA, json!(moved)).await.unwrap();
        while metadata(0).await != moved || metadata(1).await != moved {
            tokio::time::sleep(LOOK).await;
        }
        world.await_sessions(0, 1).await;
        world.stop(LOST).await;
        world.restore(LOST, &backup);
        // What it would sign at its start would be the newest.
        while SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() <= now + 1 {
            tokio::time::sleep(LOOK).await;
        }
        world.start(LOST);
        world.status_until(LOST, |status| status["participation"] == "UnitFileMissing").await;
        assert_eq!(metadata(LOST).await, moved);
        assert_eq!(metadata(0).await, moved);
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}

/// All four machines die and only the backups are left. Nobody can vouch for anybody, so all wait
/// until every operator says that nobody has spoken in the session that comes; fewer do not suffice.
#[tokio::test(flavor = "multi_thread")]
async fn federation_restored_as_a_whole_waits_for_all_operators() {
    let story = async {
        let mut world = World::of_four(Place(2), short_sessions()).await;
        let mut backups = Vec::new();
        for index in 0..4 {
            backups.push(world.backup(index).await);
        }
        world.await_sessions(0, 1).await;
        for index in 0..4 {
            world.kill(index).await;
            world.restore(index, &backups[index as usize]);
        }
        let told = |session| {
            move |options: &mut crate::node::Options| {
                options.take_part_from = Some(SessionIndex(session));
            }
        };
        for index in 0..3 {
            world.start_with(index, told(0));
        }
        for index in 0..3 {
            world.status_until(index, |status| status["participation"] == "InDoubt").await;
        }
        let lost = transaction(&[coin(1, 1000)], &[coin(2, 1000)]);
        let refused = world.submit(0, &lost).await.unwrap_err();
        assert!(refused.to_string().contains("was restored"), "{refused}");
        // Longer than they need once the fourth is there.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.status(0).await["participation"], "InDoubt", "one may know more");
        world.start_with(3, told(0));
        for index in 0..4 {
            world.status_until(index, |status| status["participation"] == "Active").await;
        }
        world.submit(0, &lost).await.unwrap().0.unwrap();
        world.await_sessions(0, 1).await;
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}

/// A word for another disaster that was left in a service file changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn old_word_of_the_operator_is_void_while_others_have_history() {
    let story = async {
        let mut world = World::of_four(Place(3), short_sessions()).await;
        world.await_sessions(0, 1).await;
        let backup = world.backup(LOST).await;
        world.stop(LOST).await;
        world.restore(LOST, &backup);
        world.start_with(LOST, |options| options.take_part_from = Some(SessionIndex(0)));
        let entered = world
            .status_until(LOST, |status| {
                !status["participation"].is_null() && status["participation"] != "InDoubt"
            })
            .await;
        assert_eq!(entered["participation"], "UnitFileMissing", "{entered}");
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}

/// A guardian whose unit files alone are gone knows its history, and yet not what it said.
#[tokio::test(flavor = "multi_thread")]
async fn guardian_without_its_unit_files_is_in_doubt_even_in_the_first_session() {
    let story = async {
        let mut world = World::of_four(Place(4), short_sessions()).await;
        world.stop(LOST).await;
        std::fs::remove_dir_all(world.dir(LOST).join("units")).unwrap();
        world.start(LOST);
        let status = world.status(LOST).await;
        assert_eq!(status["participation"], "InDoubt", "{status}");
        let entered =
            world.status_until(LOST, |status| status["participation"] == "UnitFileMissing").await;
        assert!(session_of(&entered) > 0, "{entered}");
        world.status_until(LOST, |status| status["participation"] == "Active").await;
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}

/// Of a federation of one, the backup alone is not the money's history.
#[tokio::test(flavor = "multi_thread")]
async fn guardian_alone_does_not_begin_anew_without_a_word() {
    let story = async {
        let mut world = World::alone(Place(5), short_sessions()).await;
        world.await_sessions(0, 1).await;
        let backup = world.backup(0).await;
        world.stop(0).await;
        world.start(0);
        world.is_up(0).await;
        assert!(world.sessions(0).await >= 1, "as every day");
        world.stop(0).await;
        world.restore(0, &backup);
        for _ in 0..2 {
            world.start(0);
            let error = world.ended(0).await;
            assert!(matches!(error, NodeError::HistoryLost(_)), "{error}");
            assert!(error.to_string().contains("--take-part-from 0"), "{error}");
        }
        world.start_with(0, |options| options.take_part_from = Some(SessionIndex(0)));
        world.is_up(0).await;
        world.await_sessions(0, 1).await;
        world.stop(0).await;
        world.start(0);
        world.is_up(0).await;
        world.end().await;
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
}
