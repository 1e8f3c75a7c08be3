//! One session: the meeting point of its AlephBFT instance and the rest of the crate.
//!
//! The roles in which AlephBFT calls us (`roles.rs`, `network.rs`) are thin; what they say meets
//! here, under one lock, with what the rest of the crate says.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aleph_bft::{Hasher as _, OrderedUnit};
use bytes::Bytes;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::{
    batch::{self, Batch, UnitData},
    keys::Sha256,
    local::{Local, lock},
    network::{Frame, Inbox},
    pacing::{Decision, Pace, Phase, SeenUnit, Situation},
    queue::Place,
    status::{Participation, PeerStatus},
    unit_file::UnitFile,
    unit_layout::UnitView,
};

/// What a session has agreed on.
#[derive(Debug)]
pub(crate) enum Output {
    /// A unit with items was ordered, or the one that ends the session.
    Ordered { creator: usize, items: Vec<Vec<u8>>, ends: bool },
    /// AlephBFT has stopped although nobody asked it to.
    Stopped,
}

/// A session as all its tasks share it.
pub(crate) struct Session {
    index: u64,
    local: Arc<Local>,
    inbox: Inbox,
    file: UnitFile,
    state: Mutex<State>,
    /// Something changed that the next decision depends on.
    changed: Notify,
    /// Outputs not taken yet.
    backlog: AtomicUsize,
}

struct State {
    pace: Pace,
    participation: Participation,
    /// When AlephBFT asked for the data it still waits for.
    asked_at: Option<Instant>,
    /// The newest unit of every guardian and when it came.
    newest: Vec<Option<(u16, Instant)>>,
    grown_at: Instant,
    /// The round after our newest unit in the file when it was opened.
    resumed_round: u16,
    /// The round of the next unit we create. Units of ours from this round on are none that we
    /// remember.
    next_created: u16,
    /// Hashes of units that came from the file and that AlephBFT is about to save again.
    from_file: HashSet<[u8; 32]>,
    /// The latest message to everybody: our newest unit, as far as there is one.
    last_message: Option<Bytes>,
}

impl State {
    /// A unit of ours of this round exists, properly signed. If we do not remember it, our file
    /// is an old copy or somebody else uses our key: from here on we create nothing.
    fn own_unit_exists(&mut self, session: u64, round: u16) {
        if round >= self.next_created && self.participation == Participation::Active {
            tracing::error!(
                target: "moneta::consensus", session, round, known = self.next_created,
                "peers know newer units of ours than the unit file: silent in this session"
            );
            self.participation = Participation::PeersKnowNewerUnits;
            self.pace.sit_out();
        }
    }
}

/// What a session starts with.
pub(crate) struct Start {
    pub(crate) index: u64,
    pub(crate) file: UnitFile,
    pub(crate) participation: Participation,
    pub(crate) resumed_round: u16,
    pub(crate) from_file: HashSet<[u8; 32]>,
}

impl Session {
    pub(crate) fn new(local: Arc<Local>, inbox: Inbox, start: Start) -> Self {
        let keys = &local.keyring.0;
        let mut rules = local.pacing.clone();
        rules.byte_budget = rules.byte_budget.saturating_mul(keys.total());
        let mut pace = Pace::new(rules, keys.me(), keys.max_faulty(), keys.threshold());
        if start.participation != Participation::Active {
            pace.sit_out();
        }
        let state = State {
            pace,
            participation: start.participation,
            asked_at: None,
            newest: vec![None; keys.total()],
            grown_at: Instant::now(),
            resumed_round: start.resumed_round,
            next_created: start.resumed_round,
            from_file: start.from_file,
            last_message: None,
        };
        Self {
            index: start.index,
            inbox,
            file: start.file,
            state: Mutex::new(state),
            changed: Notify::new(),
            backlog: AtomicUsize::new(0),
            local,
        }
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn total(&self) -> usize {
        self.local.keyring.0.total()
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The session before this one has ended or is closing: this one may go.
    pub(crate) fn release(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if state.pace.phase() != Phase::Held {
            return;
        }
        state.pace.release(now);
        state.grown_at = now;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether it was released and has not ended.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state().pace.phase(), Phase::Open(_))
    }

    /// Whether it is the one that items go into.
    pub(crate) fn takes_items(&self) -> bool {
        self.state().pace.takes_items()
    }

    /// Waits until the session is about to end, so that the next one may take items. Cancellation
    /// safe.
    pub(crate) async fn closing(&self) {
        loop {
            let changed = self.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.state().pace.is_closing() {
                return;
            }
            changed.await;
        }
    }

    /// An item was queued. Returns whether peers need to be told: if AlephBFT does not wait for
    /// us, it may wait for theirs.
    pub(crate) fn item_queued(&self) -> bool {
        let state = self.state();
        let waits_for_peers = state.asked_at.is_none() && !state.pace.sits_out();
        drop(state);
        self.changed.notify_waiters();
        waits_for_peers
    }

    /// A peer queued an item.
    pub(crate) fn wake(&self) {
        self.state().pace.wake();
        self.changed.notify_waiters();
    }

    /// Marks the session for closing.
    pub(crate) fn ask_close(&self) {
        self.state().pace.ask_close();
        self.changed.notify_waiters();
    }

    pub(crate) fn send_to(&self, to: usize, frame: Bytes) {
        if to < self.total() && to != self.local.me() {
            self.local.links.send(to, frame);
        }
    }

    pub(crate) fn send_to_all(&self, frame: Bytes) {
        self.state().last_message = Some(frame.clone());
        for peer in self.local.keyring.0.peers() {
            self.local.links.send(peer, frame.clone());
        }
    }

    /// Repeats our latest message to a peer that may have missed it; what it misses before that
    /// it then asks for.
    pub(crate) fn repeat_to(&self, peer: usize) {
        let message = self.state().last_message.clone();
        if let Some(message) = message {
            self.send_to(peer, message);
        }
    }

    /// A peer answered AlephBFT's question for our newest unit. Returns whether AlephBFT may see
    /// the answer.
    ///
    /// One that is newer than what it was started with makes AlephBFT 0.45.4 stop altogether. We
    /// keep silent instead, but go on to follow and to serve the others.
    pub(crate) fn heard_of_own_unit(&self, requester: usize, unit: &UnitView<'_>) -> bool {
        let me = self.local.me();
        let concerns_us = requester == me && unit.creator == me && unit.session == self.index;
        if !concerns_us || !unit.is_signed(&self.local.keyring) {
            return true;
        }
        let mut state = self.state();
        state.own_unit_exists(self.index, unit.round);
        unit.round < state.resumed_round
    }

    /// Makes durable all units that were saved so far. Blocks.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.file.is_dirty()
    }

    /// An output was taken.
    pub(crate) fn output_taken(&self) {
        if self.backlog.fetch_sub(1, Ordering::Relaxed) == self.local.pacing.backlog_batches {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// (our units, participation, all guardians, time since the graph grew).
    pub(crate) fn picture(&self) -> (u16, Participation, Vec<PeerStatus>, Duration) {
        let state = self.state();
        let peer = |newest: &Option<(u16, Instant)>| PeerStatus {
            last_round: newest.map(|(round, _)| round),
            last_unit_age: newest.map(|(_, at)| at.elapsed()),
        };
        let peers = state.newest.iter().map(peer).collect();
        (state.pace.next_round(), state.participation, peers, state.grown_at.elapsed())
    }

    /// Resolves at the next change that a decision depends on.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// An output is on its way.
    pub(crate) fn output_made(&self) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch of units was ordered, all of it is on its way.
    pub(crate) fn batch_done(&self) {
        self.changed.notify_waiters();
    }

    /// The units cannot be saved: nothing may be built on them.
    pub(crate) fn saving_failed(&self, error: &io::Error) {
        self.local.fail(format!("cannot save a unit of session {}: {error}", self.index));
    }

    /// Takes note of a unit that AlephBFT saves; returns whether it is a new one of ours, which
    /// must be durable before it leaves.
    pub(crate) fn save(&self, bytes: &[u8]) -> io::Result<bool> {
        let Some(unit) = UnitView::parse(bytes) else {
            return Err(io::Error::other("a unit in a layout that is not AlephBFT 0.45.4's"));
        };
        let now = Instant::now();
        let is_new = !self.state().from_file.remove(&Sha256::hash(bytes));
        if is_new {
            self.file.append(bytes)?;
        }
        let own = unit.creator == self.local.me();
        let (has_items, close) = batch::peek(unit.data.unwrap_or_default());
        // A mark in a malformed batch will be void.
        let close = close && unit.data.and_then(Batch::decode).is_some();
        let heats = has_items && (own || self.local.credits().heats(unit.creator, now));
        let UnitView { round, creator, data, .. } = unit;
        let mut state = self.state();
        if own {
            state.own_unit_exists(self.index, round);
        }
        state.grown_at = now;
        if let Some(newest) = state.newest.get_mut(creator)
            && newest.is_none_or(|(newest, _)| newest < round)
        {
            *newest = Some((round, now));
        }
        state.pace.saw(SeenUnit { creator, round, size_bytes: bytes.len(), heats, close });
        // What comes before or after a session takes items may not be ordered, and what the file
        // brings back may be ordered and taken already.
        if heats
            && is_new
            && !own
            && state.pace.takes_items()
            && let Some(batch) = data.and_then(Batch::decode)
        {
            let place = Place { session: self.index, creator, round };
            self.local.queue().peer_has_proposed(place, state.pace.cold_at(), &batch.items);
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(is_new && own)
    }

    /// Takes note of an ordered unit; returns what follows for the application, if anything.
    pub(crate) fn ordered(&self, unit: OrderedUnit<UnitData, Sha256>) -> Option<Output> {
        let creator = unit.creator.0;
        let batch = match &unit.data {
            None => Batch::default(),
            Some(data) => Batch::decode(data.as_bytes()).unwrap_or_else(|| {
                tracing::warn!(target: "moneta::consensus", creator, "malformed batch is void");
                self.local.credits().void(creator);
                Batch::default()
            }),
        };
        let mut state = self.state();
        if state.pace.phase() == Phase::Ended {
            return None;
        }
        let ends = state.pace.ordered(creator, unit.round, batch.close);
        drop(state);
        if creator != self.local.me() {
            let place = Place { session: self.index, creator, round: unit.round };
            self.local.settle_relayed(place, &batch.items);
        } else if !batch.items.is_empty() {
            self.local.settle(self.index, &batch.items);
        }
        let matters = ends || !batch.items.is_empty();
        matters.then_some(Output::Ordered { creator, items: batch.items, ends })
    }

    /// What to answer to the question for data of `asked_at`, or until when to wait.
    pub(crate) fn decide(&self, asked_at: Instant) -> Result<Option<UnitData>, Option<Instant>> {
        let mut state = self.state();
        let mut queue = self.local.queue();
        queue.lose_patience(self.index, state.pace.next_round());
        let decision = state.pace.decide(Situation {
            now: Instant::now(),
            asked_at,
            queued: queue.has_waiting(),
            congested: self.backlog() >= self.local.pacing.backlog_batches,
        });
        match decision {
            Decision::Wait(until) => {
                state.asked_at = Some(asked_at);
                Err(until)
            }
            Decision::Answer { close, items } => {
                state.asked_at = None;
                state.next_created = state.next_created.saturating_add(1);
                let items = if items { queue.take_batch(self.index) } else { Vec::new() };
                Ok((close || !items.is_empty()).then(|| UnitData::frame(close, &items)))
            }
        }
    }
}

/// Tells the peers of `session` to wake up.
pub(crate) fn send_wake(local: &Local, session: u64) {
    for peer in local.keyring.0.peers() {
        local.links.send(peer, Frame::wake(session));
    }
}
