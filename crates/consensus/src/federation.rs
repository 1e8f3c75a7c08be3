//! The broadcast of two and more guardians, as its handles see it: items and frames find the open
//! sessions here. Which sessions those are is the conductor's work (`conductor.rs`).

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    broadcast::{Event, Setup},
    conductor::Conductor,
    control::{Control, Ended},
    keys::Keyring,
    local::{Local, lock},
    network::Frame,
    queue::{Proposer, SubmitError},
    session::{Session, send_wake},
    status::{Participation, Status},
};

/// What the handles and the conductor share.
pub(crate) struct Federation {
    pub(crate) local: Arc<Local>,
    pub(crate) control: Control,
    pub(crate) open: Mutex<Open>,
    last_wake: Mutex<Option<Instant>>,
    /// The session whose events are being delivered.
    pub(crate) delivering: AtomicU64,
    /// How often an instance was started anew.
    pub(crate) restarts: AtomicU32,
}

/// Sessions that take messages, and messages that came too early.
#[derive(Default)]
pub(crate) struct Open {
    pub(crate) sessions: BTreeMap<u64, Arc<Session>>,
    /// Of the session after the newest open one, which a peer may open a little before us.
    early: Vec<(u64, usize, Bytes)>,
}

/// Most early messages of one peer, and their bytes: it can only have asked for our newest unit
/// in a session it holds, a few times.
const EARLY_MESSAGES: usize = 64;
const EARLY_BYTES: usize = 1 << 20;

impl Federation {
    pub(crate) async fn start(setup: Setup, events: mpsc::Sender<Event>) -> io::Result<Arc<Self>> {
        let Setup { keys, dir, first_session, pacing, links, lost_files } = setup;
        let (control, ended) = Control::new(first_session);
        let local = Local::new(Keyring(keys), pacing, links);
        let federation = Arc::new(Self::new(local, control, first_session));
        let conductor =
            Conductor::open(federation.clone(), dir, first_session, lost_files, events).await?;
        tokio::spawn(conduct(conductor, ended));
        Ok(federation)
    }

    /// One without open sessions.
    pub(crate) fn new(local: Local, control: Control, first_session: u64) -> Self {
        Self {
            local: Arc::new(local),
            control,
            open: Mutex::default(),
            last_wake: Mutex::new(None),
            delivering: AtomicU64::new(first_session),
            restarts: AtomicU32::new(0),
        }
    }

    pub(crate) fn submit(&self, bytes: Vec<u8>, proposer: Proposer) -> Result<(), SubmitError> {
        if self.control.is_stopped() || self.local.fault().is_some() {
            return Err(SubmitError::Stopped);
        }
        if !self.local.queue().push(bytes, proposer, Instant::now())? {
            // A peer's unit carries it, and keeps us awake already.
            return Ok(());
        }
        self.items_wait();
        Ok(())
    }

    /// Sessions before `next` are over: what they did not order goes into a later one.
    pub(crate) fn sessions_over(&self, next: u64) {
        let mut queue = self.local.queue();
        queue.sessions_over(next);
        let has_waiting = queue.has_waiting();
        drop(queue);
        if has_waiting {
            self.items_wait();
        }
    }

    /// Wakes the session that takes items, here and at peers.
    fn items_wait(&self) {
        let sessions: Vec<_> = lock(&self.open).sessions.values().cloned().collect();
        for session in sessions.iter().filter(|session| session.takes_items()) {
            if session.item_queued() && self.may_wake() {
                send_wake(&self.local, session.index());
            }
        }
    }

    fn may_wake(&self) -> bool {
        let now = Instant::now();
        let mut last = lock(&self.last_wake);
        let pacing = &self.local.pacing;
        let recent = last.is_some_and(|last| now - last < pacing.wake_interval);
        let may = pacing.wake_hints && !recent;
        if may {
            *last = Some(now);
        }
        may
    }

    pub(crate) fn deliver(&self, from: usize, frame: Bytes) {
        let Some((index, frame)) = Frame::parse(&frame) else {
            tracing::debug!(target: "moneta::consensus", from, "malformed frame dropped");
            return;
        };
        if from >= self.local.keyring.0.total() || from == self.local.me() {
            return;
        }
        let mut open = lock(&self.open);
        match (open.sessions.get(&index), frame) {
            (Some(session), Frame::Wake) => session.wake(),
            (Some(session), Frame::Message(message)) => {
                session.inbox().put(from, message);
            }
            (None, Frame::Message(message)) => open.keep_early(index, from, message),
            (None, Frame::Wake) => {}
        }
    }

    pub(crate) fn link_restored(&self, peer: usize) {
        for session in lock(&self.open).sessions.values() {
            session.repeat_to(peer);
        }
    }

    pub(crate) fn close_session(&self) {
        // Of two that run the first one is about to end already, and the second has just begun.
        let open = lock(&self.open);
        if let Some(session) = open.sessions.values().find(|session| session.is_running()) {
            session.ask_close();
        }
    }

    pub(crate) fn verdict(&self, creator: usize, accepted: bool) {
        self.local.credits().verdict(creator, accepted, Instant::now());
    }

    pub(crate) fn void(&self, creator: usize) {
        self.local.credits().void(creator);
    }

    pub(crate) fn status(&self) -> Status {
        let (running, backlog_batches) = {
            let open = lock(&self.open);
            let delivering = self.delivering.load(Ordering::Relaxed);
            let backlog = open.sessions.range(..=delivering).map(|(_, it)| it.backlog()).sum();
            let running = open.sessions.values().find(|session| session.is_running());
            (running.or_else(|| open.sessions.values().next_back()).cloned(), backlog)
        };
        let picture = running.as_ref().map(|session| session.picture());
        let (round, participation, peers, since_progress) =
            picture.unwrap_or((0, Participation::Active, Vec::new(), Duration::ZERO));
        let ((items_queued, waiting), queued_bytes) = {
            let queue = self.local.queue();
            (queue.counts(), queue.size_bytes())
        };
        let (median, p99) = self.local.latencies().summary();
        Status {
            oldest_session: self.control.oldest(),
            session: running
                .map_or(self.delivering.load(Ordering::Relaxed), |session| session.index()),
            round,
            participation,
            peers,
            items_queued,
            items_in_flight: items_queued - waiting,
            queued_bytes,
            backlog_batches,
            ordering_latency_median: median,
            ordering_latency_p99: p99,
            since_progress,
            restarts: self.restarts.load(Ordering::Relaxed),
            fault: self.local.fault(),
        }
    }
}

/// Runs the conductor to its end, and says that it has ended.
async fn conduct(conductor: Conductor, ended: Ended) {
    conductor.run().await;
    drop(ended);
}

impl Open {
    fn keep_early(&mut self, index: u64, from: usize, message: Bytes) {
        let next = self.sessions.keys().next_back().map(|newest| newest + 1);
        let of_peer = || self.early.iter().filter(|(_, peer, _)| *peer == from);
        let bytes: usize = of_peer().map(|(_, _, message)| message.len()).sum();
        let fits = of_peer().count() < EARLY_MESSAGES && bytes + message.len() <= EARLY_BYTES;
        if next == Some(index) && fits {
            self.early.push((index, from, message));
        }
    }

    pub(crate) fn add(&mut self, session: &Arc<Session>) {
        self.sessions.insert(session.index(), session.clone());
        for (index, from, message) in std::mem::take(&mut self.early) {
            if index == session.index() {
                session.inbox().put(from, message);
            }
        }
    }
}
