//! A federation of one: a local log instead of agreement, behind the same surface.
//!
//! Each session is one file of the unit file's format; its records are framed batches, synced
//! before their events are delivered. The record with a close mark, the last one, ends the
//! session; it comes when the session is old enough, has used its byte budget, or on request.
//! A torn end was never delivered and is cut off. A damaged file is an error at start: batches
//! that were delivered may be missing from it, and nobody else has them.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{
    batch::{Batch, UnitData},
    broadcast::{Event, LostFiles, Setup},
    control::Control,
    keys::Keyring,
    local::{Local, lock},
    queue::{Proposer, SubmitError},
    status::{Participation, Status},
    unit_file::{self, Silence, UnitFile},
};

/// Why a local log cannot be used.
#[derive(Debug)]
pub(crate) enum SoloError {
    File(io::Error),
    Damaged { path: PathBuf, intact_batches: u64 },
}

impl From<io::Error> for SoloError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// What the handles and the writer share.
pub(crate) struct Solo {
    local: Local,
    pub(crate) control: Control,
    /// An item was queued or the session is to be closed.
    changed: Notify,
    now_running: Mutex<Running>,
}

#[derive(Clone, Copy)]
struct Running {
    session: u64,
    batches: u64,
    close_asked: bool,
    grown_at: Instant,
}

impl Solo {
    pub(crate) async fn start(
        setup: Setup,
        events: mpsc::Sender<Event>,
    ) -> Result<Arc<Self>, SoloError> {
        let Setup { keys, dir, first_session, pacing, links, lost_files } = setup;
        let load = move || Log::load(dir, first_session, lost_files);
        let (log, replay) = tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??;
        let (control, ended) = Control::new(first_session);
        let running = Running {
            session: log.session,
            batches: log.batches,
            close_asked: false,
            grown_at: Instant::now(),
        };
        let solo = Arc::new(Self {
            local: Local::new(Keyring(keys), pacing, links),
            control,
            changed: Notify::new(),
            now_running: Mutex::new(running),
        });
        let writer = Writer { solo: solo.clone(), log, events, pending: replay };
        tokio::spawn(async move {
            writer.run().await;
            drop(ended);
        });
        Ok(solo)
    }

    pub(crate) fn submit(&self, bytes: Vec<u8>) -> Result<(), SubmitError> {
        if self.control.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        self.local.queue().push(bytes, Proposer::Us, Instant::now())?;
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn close_session(&self) {
        lock(&self.now_running).close_asked = true;
        self.changed.notify_one();
    }

    pub(crate) fn status(&self) -> Status {
        let running = *lock(&self.now_running);
        let (items_queued, waiting, queued_bytes) = {
            let queue = self.local.queue();
            let (items, waiting) = queue.counts();
            (items, waiting, queue.size_bytes())
        };
        let (median, p99) = self.local.latencies().summary();
        Status {
            oldest_session: self.control.oldest(),
            session: running.session,
            round: u16::try_from(running.batches).unwrap_or(u16::MAX),
            participation: Participation::Active,
            peers: Vec::new(),
            items_queued,
            items_in_flight: items_queued - waiting,
            queued_bytes,
            backlog_batches: 0,
            ordering_latency_median: median,
            ordering_latency_p99: p99,
            since_progress: running.grown_at.elapsed(),
            restarts: 0,
            fault: self.local.fault(),
        }
    }
}

/// The file of the running session.
struct Log {
    dir: PathBuf,
    session: u64,
    /// `None` between a session's end and the beginning of the next.
    file: Option<Arc<UnitFile>>,
    batches: u64,
    bytes: usize,
}

impl Log {
    /// Opens the unfinished sessions; returns the log to be continued and what it says.
    fn load(
        dir: PathBuf,
        first_session: u64,
        lost_files: LostFiles,
    ) -> Result<(Self, VecDeque<Event>), SoloError> {
        unit_file::delete_before(&dir, first_session)?;
        let found = unit_file::sessions(&dir)?;
        let is_lost = match found.last() {
            Some(newest) => !found.contains(&first_session) && *newest > first_session,
            None => first_session > 0,
        };
        if is_lost && lost_files == LostFiles::SitOut {
            let path = unit_file::path(&dir, first_session);
            return Err(SoloError::Damaged { path, intact_batches: 0 });
        }
        let mut events = VecDeque::new();
        let mut log = Self { dir, session: first_session, file: None, batches: 0, bytes: 0 };
        while log.read(&mut events)? {}
        Ok((log, events))
    }

    /// Reads the file of the session, if there is one; returns whether that session has ended.
    fn read(&mut self, events: &mut VecDeque<Event>) -> Result<bool, SoloError> {
        let Some((content, file)) = UnitFile::open(&self.dir, self.session)? else {
            return Ok(false);
        };
        let batches: Vec<_> = content.records.iter().map_while(|r| Batch::decode(r)).collect();
        let (session, path) = (self.session, unit_file::path(&self.dir, self.session));
        let damaged = batches.len() < content.records.len();
        let Some(file) = file.filter(|_| !damaged) else {
            return Err(SoloError::Damaged { path, intact_batches: batches.len() as u64 });
        };
        self.file = Some(Arc::new(file));
        self.bytes = content.records.iter().map(Vec::len).sum();
        for batch in batches {
            if self.note(batch, events) {
                debug_assert_ne!(self.session, session, "an end leads to the next session");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Turns a durable batch into events; returns whether it ended the session.
    fn note(&mut self, batch: Batch, events: &mut VecDeque<Event>) -> bool {
        let session = self.session;
        if !batch.items.is_empty() {
            let position = self.batches;
            events.push_back(Event::Ordered { session, position, creator: 0, items: batch.items });
            self.batches += 1;
        }
        if batch.close {
            events.push_back(Event::SessionEnded { session, batches: self.batches });
            *self = Self {
                dir: std::mem::take(&mut self.dir),
                session: session + 1,
                file: None,
                batches: 0,
                bytes: 0,
            };
        }
        batch.close
    }
}

/// The one task that writes the log.
struct Writer {
    solo: Arc<Solo>,
    log: Log,
    events: mpsc::Sender<Event>,
    /// Events that wait for room; nothing new is written meanwhile.
    pending: VecDeque<Event>,
}

enum Step {
    Sent,
    Write,
    Advance(u64),
    Stop,
}

impl Writer {
    async fn run(mut self) {
        if let Err(error) = self.write_log().await {
            self.solo.local.fail(format!("cannot write the log: {error}"));
        }
        self.solo.control.shutdown();
    }

    async fn write_log(&mut self) -> io::Result<()> {
        let mut oldest = self.solo.control.watch_oldest();
        let mut stop = self.solo.control.watch_stop();
        let mut began = Instant::now();
        loop {
            let session = self.log.session;
            match self.step(began, &mut oldest, &mut stop).await? {
                Step::Stop => return Ok(()),
                Step::Sent => {}
                Step::Advance(to) => self.advance(to).await?,
                Step::Write => self.write(began).await?,
            }
            if self.log.session != session {
                began = Instant::now();
            }
        }
    }

    /// Waits for whatever comes next. Every branch is cancellation safe.
    async fn step(
        &mut self,
        began: Instant,
        oldest: &mut watch::Receiver<u64>,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<Step> {
        // One session may run beside one that waits for its signature, as with more guardians.
        let may_run = self.log.session <= *oldest.borrow() + 1;
        if may_run && self.log.file.is_none() {
            self.log.file = Some(Arc::new(create(&self.log.dir, self.log.session).await?));
        }
        let room = !self.pending.is_empty();
        let is_due = self.close_is_due(began) || self.solo.local.queue().has_waiting();
        Ok(tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Step::Stop,
            Ok(()) = oldest.changed() => Step::Advance(*oldest.borrow_and_update()),
            permit = self.events.reserve(), if room => match (permit, self.pending.pop_front()) {
                (Ok(permit), Some(event)) => {
                    permit.send(event);
                    Step::Sent
                }
                _ => Step::Stop,
            },
            () = std::future::ready(()), if may_run && !room && is_due => Step::Write,
            () = self.solo.changed.notified(), if may_run && !room => Step::Sent,
            () = sleep_until(began + self.solo.local.pacing.solo_max_age), if may_run && !room => {
                Step::Sent
            }
        })
    }

    fn close_is_due(&self, began: Instant) -> bool {
        let pacing = &self.solo.local.pacing;
        began.elapsed() >= pacing.solo_max_age
            || self.log.bytes >= pacing.byte_budget
            || lock(&self.solo.now_running).close_asked
    }

    /// Appends one batch, durably, and delivers it.
    async fn write(&mut self, began: Instant) -> io::Result<()> {
        let Some(file) = self.log.file.clone() else { return Ok(()) };
        let session = self.log.session;
        let close = self.close_is_due(began);
        let items = self.solo.local.queue().take_batch(session);
        let record = UnitData::frame(close, &items);
        self.log.bytes += record.as_bytes().len();
        let append = move || {
            file.append(record.as_bytes())?;
            file.sync()
        };
        tokio::task::spawn_blocking(append).await.map_err(io::Error::other)??;
        self.solo.local.settle(session, &items);
        self.log.note(Batch { close, items }, &mut self.pending);
        let mut running = lock(&self.solo.now_running);
        *running = Running {
            session: self.log.session,
            batches: self.log.batches,
            close_asked: running.close_asked && !close,
            grown_at: Instant::now(),
        };
        Ok(())
    }

    /// All sessions before `to` are signed.
    async fn advance(&mut self, to: u64) -> io::Result<()> {
        if self.log.session < to {
            let dir = std::mem::take(&mut self.log.dir);
            self.log = Log { dir, session: to, file: None, batches: 0, bytes: 0 };
            self.pending.clear();
            let mut running = lock(&self.solo.now_running);
            *running = Running { session: to, batches: 0, close_asked: false, ..*running };
        }
        // The file of the running session first: a folder without any would look like a loss.
        if self.log.file.is_none() {
            self.log.file = Some(Arc::new(create(&self.log.dir, self.log.session).await?));
        }
        let dir = self.log.dir.clone();
        let delete = move || unit_file::delete_before(&dir, to);
        tokio::task::spawn_blocking(delete).await.map_err(io::Error::other)?
    }
}

async fn create(dir: &Path, session: u64) -> io::Result<UnitFile> {
    let dir = dir.to_owned();
    let create = move || UnitFile::create(&dir, session, Silence::None);
    tokio::task::spawn_blocking(create).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
