#![allow(clippy::unwrap_used)]
use std::{fs, path::Path, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{Broadcast, Events, Links, Pacing, StartError, keys::tests::federation};

struct NoLinks;

impl Links for NoLinks {
    fn send(&self, _: usize, _: Bytes) {
        panic!("there is nobody to send to");
    }
}

fn setup(dir: &Path, first_session: u64) -> Setup {
    Setup {
        keys: federation(1).remove(0),
        dir: dir.to_owned(),
        first_session,
        pacing: Pacing::default(),
        links: Arc::new(NoLinks),
        lost_files: LostFiles::SitOut,
    }
}

async fn start(dir: &Path, first_session: u64) -> (Broadcast, Events) {
    Broadcast::start(setup(dir, first_session)).await.unwrap()
}

fn ordered(session: u64, position: u64, items: &[&[u8]]) -> Event {
    let items = items.iter().map(|item| item.to_vec()).collect();
    Event::Ordered { session, position, creator: 0, items }
}

#[tokio::test]
async fn items_are_ordered_and_come_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (broadcast, mut events) = start(dir.path(), 0).await;
    for item in [b"one", b"two"] {
        broadcast.submit(item.to_vec()).unwrap();
        let expected = ordered(0, u64::from(item == b"two"), &[item]);
        assert_eq!(events.next().await.unwrap(), expected);
    }
    let status = broadcast.status();
    assert_eq!((status.items_queued, status.round), (0, 2));
    assert!(status.ordering_latency_median.is_some());
    broadcast.shutdown().await;
    assert_eq!(events.next().await, None);
    let (_broadcast, mut events) = start(dir.path(), 0).await;
    assert_eq!(events.next().await.unwrap(), ordered(0, 0, &[b"one"]));
    assert_eq!(events.next().await.unwrap(), ordered(0, 1, &[b"two"]));
}

#[tokio::test]
async fn session_ends_by_age_and_the_next_but_one_waits_for_the_signature() {
    let dir = tempfile::tempdir().unwrap();
    let solo_max_age = Duration::from_millis(20);
    let pacing = Pacing { solo_max_age, ..Pacing::default() };
    let setup = Setup { pacing, ..setup(dir.path(), 0) };
    let (broadcast, mut events) = Broadcast::start(setup).await.unwrap();
    let began = Instant::now();
    for session in 0..2 {
        let ended = Event::SessionEnded { session, batches: 0 };
        assert_eq!(events.next().await.unwrap(), ended);
    }
    assert!(began.elapsed() >= 2 * solo_max_age);
    broadcast.submit(b"late".to_vec()).unwrap();
    let waiting = tokio::time::timeout(10 * solo_max_age, events.next());
    assert!(waiting.await.is_err(), "session 2 must not run before session 0 is signed");
    broadcast.session_signed(0);
    let mut event = events.next().await.unwrap();
    // Session 2 may have become old while it waited for nothing.
    while matches!(event, Event::SessionEnded { .. }) {
        event = events.next().await.unwrap();
    }
    assert!(matches!(event, Event::Ordered { session: 2.., .. }), "{event:?}");
}

#[tokio::test]
async fn session_ends_when_asked_and_both_unsigned_ones_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (broadcast, mut events) = start(dir.path(), 0).await;
    broadcast.submit(b"one".to_vec()).unwrap();
    let first = ordered(0, 0, &[b"one"]);
    assert_eq!(events.next().await.unwrap(), first);
    broadcast.close_session();
    let ended = Event::SessionEnded { session: 0, batches: 1 };
    assert_eq!(events.next().await.unwrap(), ended);
    broadcast.submit(b"two".to_vec()).unwrap();
    let second = ordered(1, 0, &[b"two"]);
    assert_eq!(events.next().await.unwrap(), second);
    broadcast.shutdown().await;
    let (broadcast, mut events) = start(dir.path(), 0).await;
    for expected in [first, ended, second.clone()] {
        assert_eq!(events.next().await.unwrap(), expected);
    }
    broadcast.shutdown().await;
    let (_broadcast, mut events) = start(dir.path(), 1).await;
    assert_eq!(events.next().await.unwrap(), second);
    assert_eq!(unit_file::sessions(dir.path()).unwrap(), [1]);
}

#[tokio::test]
async fn damaged_or_lost_log_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (broadcast, mut events) = start(dir.path(), 0).await;
    for item in [b"one", b"two"] {
        broadcast.submit(item.to_vec()).unwrap();
        events.next().await.unwrap();
    }
    broadcast.shutdown().await;
    let path = unit_file::path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Broadcast::start(setup(dir.path(), 0)).await.err().unwrap();
    assert!(matches!(error, StartError::DamagedLog { intact_batches: 0, .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = Broadcast::start(setup(dir.path(), 7)).await.err().unwrap();
    assert!(matches!(error, StartError::DamagedLog { intact_batches: 0, .. }), "{error}");
    let lost_files = LostFiles::TakePart;
    assert!(Broadcast::start(Setup { lost_files, ..setup(dir.path(), 7) }).await.is_ok());
}

#[tokio::test]
async fn jump_forgets_older_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let (broadcast, mut events) = start(dir.path(), 0).await;
    broadcast.submit(b"one".to_vec()).unwrap();
    events.next().await.unwrap();
    broadcast.jump_to(9);
    broadcast.submit(b"two".to_vec()).unwrap();
    loop {
        match events.next().await.unwrap() {
            Event::Ordered { session: 9, .. } => break,
            Event::Ordered { session: 0, .. } => broadcast.submit(b"two".to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}
