//! What the conductor makes of the outputs of an instance, which are given to it by hand.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::*;
use crate::{
    Links, Pacing, batch::UnitData, control::Control, keys::Keyring, keys::tests::federation,
    local::Local, unit_layout::tests::unit,
};

/// The session of [`unit`].
const SESSION: u64 = 12;

struct Nowhere;

impl Links for Nowhere {
    fn send(&self, _: usize, _: Bytes) {}
}

struct Stage {
    conductor: Conductor,
    _events: mpsc::Receiver<Event>,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring(federation(4).remove(0));
        let local = Local::new(keyring, Pacing::default(), Arc::new(Nowhere));
        let federation = Arc::new(Federation::new(local, Control::new(SESSION).0, SESSION));
        let (events, _events) = mpsc::channel(1);
        let path = dir.path().to_owned();
        let conductor = Conductor::open(federation, path, SESSION, LostFiles::TakePart, events);
        Self { conductor: conductor.await.unwrap(), _events, _dir: dir }
    }

    /// A peer's unit is taken into the graph; it is in the file and not synced.
    fn save(&self, creator: u64, close: bool) {
        let keyring = Keyring(federation(4).remove(0));
        let data = UnitData::frame(close, &[vec![creator as u8]]);
        let own = self.session().save(&unit(&keyring, creator, Some(data))).unwrap();
        assert!(!own && self.session().is_dirty());
    }

    fn session(&self) -> &crate::session::Session {
        &self.conductor.instances[&SESSION].session
    }

    fn runs(&self, session: u64) -> bool {
        self.conductor.instances[&session].session.takes_items()
    }

    /// (session, position) of what was delivered, an end without a position.
    fn delivered(&mut self) -> Vec<(u64, Option<u64>)> {
        let place = |event| match event {
            Event::Ordered { session, position, .. } => (session, Some(position)),
            Event::SessionEnded { session, .. } => (session, None),
        };
        self.conductor.pending.drain(..).map(place).collect()
    }
}

fn ordered(creator: usize, ends: bool) -> Output {
    Output::Ordered { creator, items: vec![vec![creator as u8]], ends }
}

#[tokio::test]
async fn group_of_batches_is_delivered_in_order_and_only_when_all_of_it_is_durable() {
    let mut stage = Stage::new().await;
    stage.save(1, false);
    stage.save(2, false);
    stage.conductor.take(vec![ordered(1, false), ordered(2, false)]).await.unwrap();
    assert!(!stage.session().is_dirty(), "what was delivered survives a crash");
    assert_eq!(stage.delivered(), [(SESSION, Some(0)), (SESSION, Some(1))]);
    stage.save(3, false);
    stage.conductor.take(vec![ordered(3, false)]).await.unwrap();
    assert!(!stage.session().is_dirty());
    assert_eq!(stage.delivered(), [(SESSION, Some(2))]);
}

#[tokio::test]
async fn nothing_is_delivered_after_the_end_of_a_session_in_the_same_group() {
    let mut stage = Stage::new().await;
    let group = vec![ordered(1, false), ordered(2, true), ordered(3, false)];
    stage.conductor.take(group).await.unwrap();
    let end = [(SESSION, Some(0)), (SESSION, Some(1)), (SESSION, None)];
    assert_eq!(stage.delivered(), end);
    assert_eq!(stage.conductor.delivering, SESSION + 1);
}

#[tokio::test]
async fn instance_that_stops_amid_a_group_tells_nothing_twice() {
    let mut stage = Stage::new().await;
    let group = vec![ordered(1, false), ordered(2, false), Output::Stopped];
    stage.conductor.take(group).await.unwrap();
    assert_eq!(stage.delivered(), [(SESSION, Some(0)), (SESSION, Some(1))]);
    let again = vec![ordered(1, false), ordered(2, false), ordered(3, false)];
    stage.conductor.take(again).await.unwrap();
    assert_eq!(stage.delivered(), [(SESSION, Some(2))]);
}

#[tokio::test]
async fn next_session_takes_items_once_this_one_is_closing_and_is_delivered_after_it() {
    let mut stage = Stage::new().await;
    let mut oldest = stage.conductor.federation.control.watch_oldest();
    let mut stop = stage.conductor.federation.control.watch_stop();
    stage.save(1, true);
    stage.save(2, true);
    assert!(stage.runs(SESSION) && !stage.runs(SESSION + 1));
    stage.save(3, true);
    assert!(!stage.runs(SESSION));
    let step = stage.conductor.step(&mut oldest, &mut stop).await;
    assert!(matches!(step, Step::Closing));
    stage.conductor.run_to(SESSION + 1);
    assert!(stage.runs(SESSION + 1), "at most one session takes items");
    assert_eq!(stage.conductor.delivering, SESSION);
    stage.conductor.take(vec![ordered(1, false), ordered(2, true)]).await.unwrap();
    stage.conductor.take(vec![ordered(3, false)]).await.unwrap();
    let delivered =
        [(SESSION, Some(0)), (SESSION, Some(1)), (SESSION, None), (SESSION + 1, Some(0))];
    assert_eq!(stage.delivered(), delivered);
}

#[tokio::test]
async fn session_that_is_opened_late_runs_if_the_one_before_is_closing() {
    let mut stage = Stage::new().await;
    let next = stage.conductor.instances.remove(&(SESSION + 1)).unwrap();
    next.stop().await;
    stage.conductor.run_to(SESSION + 1);
    stage.conductor.open_session(SESSION + 1).await.unwrap();
    assert!(stage.runs(SESSION + 1));
}
