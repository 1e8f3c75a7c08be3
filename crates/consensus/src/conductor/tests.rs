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
    fn save(&self, creator: u64) {
        let keyring = Keyring(federation(4).remove(0));
        let data = UnitData::frame(false, &[vec![creator as u8]]);
        let own = self.session().save(&unit(&keyring, creator, Some(data))).unwrap();
        assert!(!own && self.session().is_dirty());
    }

    fn session(&self) -> &crate::session::Session {
        &self.conductor.instances[&SESSION].session
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
    stage.save(1);
    stage.save(2);
    stage.conductor.take(vec![ordered(1, false), ordered(2, false)]).await.unwrap();
    assert!(!stage.session().is_dirty(), "what was delivered survives a crash");
    assert_eq!(stage.delivered(), [(SESSION, Some(0)), (SESSION, Some(1))]);
    stage.save(3);
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
