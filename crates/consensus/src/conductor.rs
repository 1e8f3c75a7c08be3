//! Which sessions of a federation run, and in what order they speak.
//!
//! At any time two sessions are open: the oldest that is not signed, `s`, and the next.
//!
//! ```text
//!          s runs, s+1 held  --s closing-->  both run  --s ends-->  s waits for signatures, s+1 runs
//!                ^                                                         |
//!                +-------------------------------- s signed: s closed, s+2 opened, held
//! ```
//!
//! Both run for the rounds that order the close marks of s, so that payments need not wait for these. What
//! s+1 orders meanwhile is delivered after the end of s.
//! (docs/decisions/0021-sessions-overlap.md)
//!
//! What leads over from one session to the next (a new unit file, the end of an AlephBFT instance) is done
//! beside the session that runs, which would otherwise stall in the midst of payments.
//!
//! A crash in any state: both are opened from their unit files and order again what they had
//! ordered, s first, so that the events come again from the beginning of s.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::{JoinError, JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    broadcast::{Event, LostFiles},
    federation::Federation,
    instance::Instance,
    local::lock,
    session::Output,
    unit_file,
};

/// Most ordered batches taken at once. Their events wait here for the application.
const OUTPUTS_MAX: usize = 64;

/// Pause before an instance that stopped by itself is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The one task that opens and closes sessions and delivers their events.
pub(crate) struct Conductor {
    federation: Arc<Federation>,
    dir: PathBuf,
    /// A session before this one, without a file, has lost it.
    lost_before: u64,
    events: mpsc::Sender<Event>,
    /// Events that wait for room; nothing new is taken meanwhile.
    pending: VecDeque<Event>,
    instances: BTreeMap<u64, Instance>,
    /// A session that is being opened beside all this, since nothing of it is needed yet.
    opening: Option<(u64, JoinHandle<io::Result<Instance>>)>,
    /// Sessions before `oldest` that are being closed.
    closing: JoinSet<io::Result<()>>,
    oldest: u64,
    /// The session whose outputs are taken now; at most one after `oldest`, then none.
    delivering: u64,
    /// The newest session that may run: the one after `delivering` if that is closing.
    running: u64,
    /// How many of its batches were delivered.
    position: u64,
    /// How many of its instance's outputs to skip, after a restart of the instance.
    taken: u64,
}

enum Step {
    /// The session being delivered is about to end.
    Closing,
    Advance(u64),
    Opened(u64, io::Result<Instance>),
    Closed(io::Result<()>),
    /// What was ordered since the last step; nothing if the instance is gone.
    Outputs(Vec<Output>),
    Sent,
    Stop,
}

impl Conductor {
    /// Opens the unfinished sessions; the first may run at once.
    pub(crate) async fn open(
        federation: Arc<Federation>,
        dir: PathBuf,
        first_session: u64,
        lost_files: LostFiles,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let files = dir.clone();
        let found = tokio::task::spawn_blocking(move || {
            unit_file::delete_before(&files, first_session)?;
            unit_file::sessions(&files)
        });
        let newest_found = found.await.map_err(io::Error::other)??.last().copied();
        let mut conductor = Self {
            federation,
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
            opening: None,
            closing: JoinSet::new(),
            oldest: first_session,
            delivering: first_session,
            running: first_session,
            position: 0,
            taken: 0,
        };
        conductor.open_from(first_session).await?;
        conductor.finish_opening().await?;
        Ok(conductor)
    }

    /// Runs until it is asked to stop, nobody listens, or the files fail.
    pub(crate) async fn run(mut self) {
        let outcome = self.conduct().await;
        if let Err(error) = outcome {
            self.federation.local.fail(format!("cannot go on with the unit files: {error}"));
        }
        self.federation.control.shutdown();
        lock(&self.federation.open).sessions.clear();
        if let Some((_, opening)) = self.opening.take()
            && let Ok(Ok(instance)) = opening.await
        {
            instance.stop().await;
        }
        for (_, instance) in std::mem::take(&mut self.instances) {
            instance.stop().await;
        }
        // To be deleted is not urgent, but nothing may touch the files any more.
        while self.closing.join_next().await.is_some() {}
    }

    async fn conduct(&mut self) -> io::Result<()> {
        let mut oldest = self.federation.control.watch_oldest();
        let mut stop = self.federation.control.watch_stop();
        loop {
            match self.step(&mut oldest, &mut stop).await {
                Step::Stop => return Ok(()),
                Step::Sent => self.send_pending(),
                Step::Closing => self.run_to(self.delivering + 1),
                Step::Advance(to) => self.advance(to).await?,
                Step::Opened(index, instance) => self.opened(index, instance?),
                Step::Closed(closed) => closed?,
                Step::Outputs(outputs) => self.take(outputs).await?,
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
        let next_runs = self.running > self.delivering;
        let current = self.instances.get_mut(&self.delivering);
        let session = current.as_ref().map(|current| current.session.clone());
        let closing = async {
            match session.filter(|_| !next_runs) {
                Some(session) => session.closing().await,
                None => std::future::pending().await,
            }
        };
        let current = current.filter(|_| !room);
        let outputs = async {
            let Some(instance) = current else { return std::future::pending().await };
            let mut outputs = Vec::new();
            instance.outputs.recv_many(&mut outputs, OUTPUTS_MAX).await;
            outputs
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Step::Stop,
            () = self.federation.local.failed() => Step::Stop,
            () = closing => Step::Closing,
            Ok(()) = oldest.changed() => Step::Advance(*oldest.borrow_and_update()),
            (index, instance) = opened(&mut self.opening) => Step::Opened(index, instance),
            Some(closed) = self.closing.join_next() => Step::Closed(ended(closed)),
            permit = self.events.reserve(), if room => match (permit, self.pending.pop_front()) {
                (Ok(permit), Some(event)) => {
                    permit.send(event);
                    Step::Sent
                }
                _ => Step::Stop,
            },
            outputs = outputs => Step::Outputs(outputs),
        }
    }

    /// Sends pending events as far as there is room, so that they are processed together.
    fn send_pending(&mut self) {
        while let Some(event) = self.pending.pop_front() {
            if let Err(TrySendError::Full(event) | TrySendError::Closed(event)) =
                self.events.try_send(event)
            {
                self.pending.push_front(event);
                return;
            }
        }
    }

    /// Delivers ordered batches, once they and all before them are durable. What a round has ordered
    /// comes at once, and one sync serves all of it: AlephBFT saves a unit before it orders anything
    /// that rests on it, so all of it was appended when the first of `outputs` came.
    async fn take(&mut self, outputs: Vec<Output>) -> io::Result<()> {
        let Some(instance) = self.instances.get(&self.delivering) else { return Ok(()) };
        let session = instance.session.clone();
        if session.is_dirty() {
            let session = session.clone();
            let sync = tokio::task::spawn_blocking(move || session.sync());
            sync.await.map_err(io::Error::other)??;
        }
        if outputs.is_empty() {
            return self.restart().await;
        }
        for output in outputs {
            let Output::Ordered { creator, items, ends } = output else {
                return self.restart().await;
            };
            session.output_taken();
            if self.taken > 0 {
                self.taken -= 1;
                continue;
            }
            self.deliver(session.index(), creator, items, ends);
            if ends {
                // Nothing that matters follows.
                break;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, session: u64, creator: usize, items: Vec<Vec<u8>>, ends: bool) {
        if !items.is_empty() {
            let position = self.position;
            self.pending.push_back(Event::Ordered { session, position, creator, items });
            self.position += 1;
        }
        if ends {
            let batches = self.position;
            self.pending.push_back(Event::SessionEnded { session, batches });
            tracing::info!(target: "moneta::consensus", session, batches, "session ended");
            self.deliver_from(session + 1);
        }
    }

    /// Goes on with the events of session `index`, and lets it run if it is open yet.
    fn deliver_from(&mut self, index: u64) {
        self.delivering = index;
        self.federation.delivering.store(index, Ordering::Relaxed);
        self.position = 0;
        self.taken = 0;
        self.federation.sessions_over(index);
        self.run_to(index);
    }

    /// Lets the sessions up to `index` run, now or as soon as they are open.
    fn run_to(&mut self, index: u64) {
        self.running = self.running.max(index);
        for (_, instance) in self.instances.range(self.delivering..=self.running) {
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
        let (federation, dir) = (self.federation.clone(), self.dir.clone());
        self.closing.spawn(async move {
            for (_, instance) in older {
                instance.stop().await;
            }
            // One that ran until now may have taken items since.
            federation.sessions_over(to);
            let delete = tokio::task::spawn_blocking(move || unit_file::delete_before(&dir, to));
            delete.await.map_err(io::Error::other)?
        });
        Ok(())
    }

    /// Opens session `oldest`, begins to open the next, and releases what may run. While the next one
    /// is opened, which takes some syncs, events of `oldest` go on.
    async fn open_from(&mut self, oldest: u64) -> io::Result<()> {
        self.finish_opening().await?;
        if !self.instances.contains_key(&oldest) {
            self.open_session(oldest).await?;
        }
        let next = oldest + 1;
        if !self.instances.contains_key(&next) {
            let (local, dir) = (self.federation.local.clone(), self.dir.clone());
            let is_lost = next < self.lost_before;
            let open = async move { Instance::open(&local, &dir, next, is_lost).await };
            self.opening = Some((next, tokio::spawn(open)));
        }
        if self.delivering < oldest {
            // What is pending of a session that is over is of no use to anybody.
            self.pending.clear();
            self.deliver_from(oldest);
        }
        self.run_to(self.delivering);
        Ok(())
    }

    async fn open_session(&mut self, index: u64) -> io::Result<()> {
        let is_lost = index < self.lost_before;
        let instance = Instance::open(&self.federation.local, &self.dir, index, is_lost).await?;
        self.opened(index, instance);
        Ok(())
    }

    /// A session that is open takes part, and runs if it is its turn.
    fn opened(&mut self, index: u64, instance: Instance) {
        lock(&self.federation.open).add(&instance.session);
        if index <= self.running {
            instance.session.release();
        }
        self.instances.insert(index, instance);
    }

    /// Waits for the session that is being opened, if there is one.
    async fn finish_opening(&mut self) -> io::Result<()> {
        if let Some((index, opening)) = self.opening.take() {
            self.opened(index, ended(opening.await)?);
        }
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
        self.open_session(index).await?;
        self.taken = self.position;
        Ok(())
    }
}

/// The session that is being opened, when it is open; never if there is none. Cancellation safe.
async fn opened(
    opening: &mut Option<(u64, JoinHandle<io::Result<Instance>>)>,
) -> (u64, io::Result<Instance>) {
    let Some((index, task)) = opening else { return std::future::pending().await };
    let (index, instance) = (*index, ended(task.await));
    *opening = None;
    (index, instance)
}

/// What a task of ours came to.
fn ended<T>(outcome: Result<io::Result<T>, JoinError>) -> io::Result<T> {
    outcome.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
