//! What the conductor makes of the outputs of an instance, which are given to it by hand.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::FutureExt as _;
use parity_scale_codec::{Decode as _, Encode as _};
use tokio::time::Instant;

use super::*;
use crate::{
    Links, Pacing,
    batch::{Batch, UnitData},
    control::Control,
    keys::Keyring,
    keys::tests::federation,
    local::Local,
    queue::Proposer,
    session::Session,
    unit_layout::tests::unit,
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
        self.save_frame(creator, UnitData::frame(close, &[vec![creator as u8]]));
    }

    fn save_frame(&self, creator: u64, data: UnitData) {
        let keyring = Keyring(federation(4).remove(0));
        let own = self.session().save(&unit(&keyring, creator, Some(data))).unwrap();
        assert!(!own && self.session().is_dirty());
    }

    fn session(&self) -> &Session {
        &self.conductor.instances[&SESSION].session
    }

    fn runs(&self, session: u64) -> bool {
        self.conductor.instances[&session].session.takes_items()
    }

    fn oldest(&self) -> &Session {
        &self.conductor.instances.first_key_value().unwrap().1.session
    }

    fn submit(&self, item: &[u8]) {
        self.conductor.federation.submit(item.to_vec(), Proposer::Us).unwrap();
    }

    /// The items of the unit that `session` would create now; nothing if it would not.
    fn create(session: &Session) -> Option<Vec<Vec<u8>>> {
        let data = session.decide(Instant::now()).ok()?;
        Some(data.map_or(Vec::new(), |data| Batch::decode(data.as_bytes()).unwrap().items))
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

#[tokio::test]
async fn mark_in_a_malformed_batch_is_void_before_it_is_ordered() {
    let mut stage = Stage::new().await;
    stage.save(1, true);
    stage.save(2, true);
    let torn = [UnitData::frame(true, &[]).as_bytes(), &[0, 0, 0, 9]].concat();
    stage.save_frame(3, UnitData::decode(&mut &torn.encode()[..]).unwrap());
    assert!(stage.runs(SESSION), "two marks are not enough");
    stage.conductor.run_to(SESSION);
    assert!(!stage.runs(SESSION + 1));
}

/// Nothing else would wake the next session before its idle tick: it may have run for long.
#[tokio::test]
async fn what_the_end_of_a_session_leaves_out_wakes_the_next_one() {
    let mut stage = Stage::new().await;
    stage.submit(b"late");
    assert_eq!(Stage::create(stage.session()).unwrap(), [b"late".to_vec()]);
    (1..4).for_each(|creator| stage.save(creator, true));
    stage.conductor.run_to(SESSION + 1);
    let next = stage.conductor.instances[&(SESSION + 1)].session.clone();
    assert_eq!(Stage::create(&next), None, "it is in flight");
    let mut changed = std::pin::pin!(next.changed());
    changed.as_mut().enable();
    stage.conductor.take(vec![ordered(1, true)]).await.unwrap();
    assert!(changed.now_or_never().is_some());
    assert_eq!(Stage::create(&next).unwrap(), [b"late".to_vec()]);
}

#[tokio::test]
async fn session_that_is_over_before_it_ran_takes_no_items() {
    let mut stage = Stage::new().await;
    let skipped = stage.conductor.instances[&(SESSION + 1)].session.clone();
    stage.submit(b"early");
    stage.conductor.advance(SESSION + 2).await.unwrap();
    assert_eq!(Stage::create(&skipped), None);
    assert_eq!(Stage::create(stage.oldest()).unwrap(), [b"early".to_vec()]);
}
