//! The broadcast of two and more guardians: which sessions run, and in what order they speak.
//!
//! At any time two sessions are open: the oldest that is not signed, `s`, and the next.
//!
//! ```text
//!          s runs, s+1 held  --s ends-->  s waits for signatures, s+1 runs
//!                ^                               |
//!                +---------- s signed: s closed, s+2 opened, held
//! ```
//!
//! A crash in any state: both are opened from their unit files and order again what they had
//! ordered, s first, so that the events come again from the beginning of s.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use crate::{
    broadcast::{Event, LostFiles, Setup},
    instance::Instance,
    keys::Keyring,
    local::{Local, lock},
    network::Frame,
    queue::SubmitError,
    session::{Output, Session, send_wake},
    status::{Participation, Status},
    unit_file,
};

/// What the handles and the conductor share.
pub(crate) struct Federation {
    local: Arc<Local>,
    open: Mutex<Open>,
    last_wake: Mutex<Option<Instant>>,
    /// The oldest session that is not signed, as the application says.
    oldest: watch::Sender<u64>,
    /// The session whose events are being delivered.
    delivering: AtomicU64,
    restarts: AtomicU32,
    stop: watch::Sender<bool>,
    /// Closed when the conductor has ended.
    conductor: watch::Receiver<()>,
}

/// Sessions that take messages, and messages that came too early.
#[derive(Default)]
struct Open {
    sessions: BTreeMap<u64, Arc<Session>>,
    /// Of the session after the newest open one, which a peer may open a little before us.
    early: Vec<(u64, usize, Bytes)>,
}

/// Most early messages of one peer, and their bytes: it can only have asked for our newest unit
/// in a session it holds, a few times.
const EARLY_MESSAGES: usize = 64;
const EARLY_BYTES: usize = 1 << 20;

/// Pause before an instance that stopped by itself is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

impl Federation {
    pub(crate) async fn start(setup: Setup, events: mpsc::Sender<Event>) -> io::Result<Arc<Self>> {
        let Setup { keys, dir, first_session, pacing, links, lost_files } = setup;
        let files = dir.clone();
        let found = tokio::task::spawn_blocking(move || {
            unit_file::delete_before(&files, first_session)?;
            unit_file::sessions(&files)
        });
        let found = found.await.map_err(io::Error::other)??;
        let (ended, conductor) = watch::channel(());
        let federation = Arc::new(Self {
            local: Arc::new(Local::new(Keyring(keys), pacing, links)),
            open: Mutex::default(),
            last_wake: Mutex::new(None),
            oldest: watch::Sender::new(first_session),
            delivering: AtomicU64::new(first_session),
            restarts: AtomicU32::new(0),
            stop: watch::Sender::new(false),
            conductor,
        });
        let newest_found = found.last().copied();
        let mut conductor = Conductor {
            federation: federation.clone(),
            dir,
            // With no file at all, and signed sessions, the folder itself is lost; both sessions
            // that may have been running are in doubt then.
            lost_before: match (lost_files, newest_found) {
                (LostFiles::TakePart, _) => 0,
                (LostFiles::SitOut, Some(newest)) => newest,
                (LostFiles::SitOut, None) if first_session > 0 => first_session + 2,
                (LostFiles::SitOut, None) => 0,
            },
            events,
            pending: VecDeque::new(),
            instances: BTreeMap::new(),
            oldest: first_session,
            delivering: first_session,
            position: 0,
            taken: 0,
        };
        conductor.open_from(first_session).await?;
        tokio::spawn(async move {
            conductor.run().await;
            drop(ended);
        });
        Ok(federation)
    }

    pub(crate) fn submit(&self, bytes: Vec<u8>) -> Result<(), SubmitError> {
        if *self.stop.borrow() || self.local.fault().is_some() {
            return Err(SubmitError::Stopped);
        }
        self.local.queue().push(bytes, Instant::now())?;
        let sessions: Vec<_> = lock(&self.open).sessions.values().cloned().collect();
        for session in sessions.iter().filter(|session| session.is_open()) {
            if session.item_queued() && self.may_wake() {
                send_wake(&self.local, session.index());
            }
        }
        Ok(())
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

    pub(crate) fn jump_to(&self, session: u64) {
        self.oldest.send_if_modified(|oldest| {
            let ahead = session > *oldest;
            *oldest = session.max(*oldest);
            ahead
        });
    }

    pub(crate) fn close_session(&self) {
        for session in lock(&self.open).sessions.values().filter(|session| session.is_open()) {
            session.ask_close();
        }
    }

    pub(crate) fn verdict(&self, creator: usize, accepted: bool) {
        self.local.credits().verdict(creator, accepted, Instant::now());
    }

    pub(crate) fn status(&self) -> Status {
        let (running, backlog_batches) = {
            let open = lock(&self.open);
            let backlog = open.sessions.values().map(|session| session.backlog()).sum();
            let running = open.sessions.values().find(|session| session.is_open());
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
            oldest_session: *self.oldest.borrow(),
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

    pub(crate) fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all work has stopped.
    pub(crate) async fn stopped(&self) {
        let mut conductor = self.conductor.clone();
        // The channel never changes; it closes.
        while conductor.changed().await.is_ok() {}
    }
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

    fn add(&mut self, session: &Arc<Session>) {
        self.sessions.insert(session.index(), session.clone());
        for (index, from, message) in std::mem::take(&mut self.early) {
            if index == session.index() {
                session.inbox().put(from, message);
            }
        }
    }
}

/// The one task that opens and closes sessions and delivers their events.
struct Conductor {
    federation: Arc<Federation>,
    dir: PathBuf,
    /// A session before this one, without a file, has lost it.
    lost_before: u64,
    events: mpsc::Sender<Event>,
    /// Events that wait for room; nothing new is taken meanwhile.
    pending: VecDeque<Event>,
    instances: BTreeMap<u64, Instance>,
    oldest: u64,
    /// The session whose outputs are taken now; at most one after `oldest`, then none.
    delivering: u64,
    /// How many of its batches were delivered.
    position: u64,
    /// How many of its instance's outputs to skip, after a restart of the instance.
    taken: u64,
}

enum Step {
    Advance(u64),
    Output(Option<Output>),
    Sent,
    Stop,
}

impl Conductor {
    async fn run(mut self) {
        let outcome = self.conduct().await;
        if let Err(error) = outcome {
            self.federation.local.fail(format!("cannot go on with the unit files: {error}"));
        }
        self.federation.shutdown();
        lock(&self.federation.open).sessions.clear();
        for (_, instance) in std::mem::take(&mut self.instances) {
            instance.stop().await;
        }
    }

    async fn conduct(&mut self) -> io::Result<()> {
        let mut oldest = self.federation.oldest.subscribe();
        let mut stop = self.federation.stop.subscribe();
        loop {
            match self.step(&mut oldest, &mut stop).await {
                Step::Stop => return Ok(()),
                Step::Sent => {}
                Step::Advance(to) => self.advance(to).await?,
                Step::Output(Some(Output::Ordered { creator, items, ends })) => {
                    self.take(creator, items, ends).await?;
                }
                Step::Output(Some(Output::Stopped) | None) => self.restart().await?,
            }
        }
    }

    /// Waits for whatever comes next. Every branch is cancellation safe.
    async fn step(
        &mut self,
        oldest: &mut watch::Receiver<u64>,
        stop: &mut watch::Receiver<bool>,
    ) -> Step {
        let room = !self.pending.is_empty();
        let current = self.instances.get_mut(&self.delivering).filter(|_| !room);
        let outputs = async {
            match current {
                Some(instance) => instance.outputs.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Step::Stop,
            () = self.federation.local.failed() => Step::Stop,
            Ok(()) = oldest.changed() => Step::Advance(*oldest.borrow_and_update()),
            permit = self.events.reserve(), if room => match (permit, self.pending.pop_front()) {
                (Ok(permit), Some(event)) => {
                    permit.send(event);
                    Step::Sent
                }
                _ => Step::Stop,
            },
            output = outputs => Step::Output(output),
        }
    }

    /// Delivers an ordered batch, once it and all before it are durable.
    async fn take(&mut self, creator: usize, items: Vec<Vec<u8>>, ends: bool) -> io::Result<()> {
        let Some(instance) = self.instances.get(&self.delivering) else { return Ok(()) };
        let session = instance.session.clone();
        session.output_taken();
        if self.taken > 0 {
            self.taken -= 1;
            return Ok(());
        }
        if session.is_dirty() {
            let session = session.clone();
            let sync = tokio::task::spawn_blocking(move || session.sync());
            sync.await.map_err(io::Error::other)??;
        }
        let index = session.index();
        if !items.is_empty() {
            let position = self.position;
            self.pending.push_back(Event::Ordered { session: index, position, creator, items });
            self.position += 1;
        }
        if ends {
            let batches = self.position;
            self.pending.push_back(Event::SessionEnded { session: index, batches });
            tracing::info!(target: "moneta::consensus", session = index, batches, "session ended");
            self.deliver_from(index + 1);
        }
        Ok(())
    }

    /// Goes on with the events of session `index`, and lets it run if it is open yet.
    fn deliver_from(&mut self, index: u64) {
        self.delivering = index;
        self.federation.delivering.store(index, Ordering::Relaxed);
        self.position = 0;
        self.taken = 0;
        self.federation.local.queue().sessions_over(index);
        if let Some(instance) = self.instances.get(&index) {
            instance.session.release();
        }
    }

    /// All sessions before `to` are signed.
    async fn advance(&mut self, to: u64) -> io::Result<()> {
        if to <= self.oldest {
            return Ok(());
        }
        self.oldest = to;
        // New files first: a folder without any would look like a loss after a crash.
        self.open_from(to).await?;
        let newer = self.instances.split_off(&to);
        let older = std::mem::replace(&mut self.instances, newer);
        {
            let mut open = lock(&self.federation.open);
            open.sessions = open.sessions.split_off(&to);
        }
        for (_, instance) in older {
            instance.stop().await;
        }
        let dir = self.dir.clone();
        let delete = tokio::task::spawn_blocking(move || unit_file::delete_before(&dir, to));
        delete.await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Opens session `oldest` and the next where they are not, and releases what may run.
    async fn open_from(&mut self, oldest: u64) -> io::Result<()> {
        for index in [oldest, oldest + 1] {
            if !self.instances.contains_key(&index) {
                self.open(index).await?;
            }
        }
        if self.delivering < oldest {
            // What is pending of a session that is over is of no use to anybody.
            self.pending.clear();
            self.deliver_from(oldest);
        } else if let Some(instance) = self.instances.get(&self.delivering) {
            instance.session.release();
        }
        Ok(())
    }

    async fn open(&mut self, index: u64) -> io::Result<()> {
        let is_lost = index < self.lost_before;
        let instance = Instance::open(&self.federation.local, &self.dir, index, is_lost).await?;
        lock(&self.federation.open).add(&instance.session);
        self.instances.insert(index, instance);
        Ok(())
    }

    /// The instance of the session being delivered stopped by itself: starts it from its file.
    /// It orders the same again, of which the outputs that were taken are skipped.
    async fn restart(&mut self) -> io::Result<()> {
        let index = self.delivering;
        tracing::warn!(target: "moneta::consensus", session = index, "instance starts anew");
        self.federation.restarts.fetch_add(1, Ordering::Relaxed);
        sleep(RESTART_PAUSE).await;
        if let Some(instance) = self.instances.remove(&index) {
            instance.stop().await;
        }
        self.open(index).await?;
        self.taken = self.position;
        if let Some(instance) = self.instances.get(&index) {
            instance.session.release();
        }
        Ok(())
    }
}
