//! One guardian: the real engine over a store that crashes, and the thin shell that a node would be.
//!
//! The shell does what `moneta_guardian::node` does around the engine, without waiting for anything:
//! each function takes the time and what arrived, and returns what should leave.

mod calls;
mod chores;
mod ordered;
mod sessions;

use std::collections::{BTreeMap, VecDeque};

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::api::Method;
use moneta_core::{ApiError, PeerId, SessionHeader, SessionIndex};
use moneta_guardian::engine::{Engine, Halt};
use moneta_module::server::{ChainStatus, Facts, Need};
use moneta_store::testing::CrashProne;
use moneta_store::{Batch as Writes, KeyRange, Order, Read as _, Snapshot, Store, StoreError};
use serde_json::Value;

use crate::federation::Federation;
use crate::order::Log;
use calls::Waiting;
use ordered::Ordered;

/// Why a guardian cannot go on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Its store failed: the process dies and starts again.
    Died,
    /// Something that must not happen.
    Broken(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } | StoreError::Damaged { .. } => {
                Self::Broken(error.to_string())
            }
            _ => Self::Died,
        }
    }
}

impl From<Halt> for Trouble {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Store(error) => error.into(),
            halt => Self::Broken(format!("halted: {halt}")),
        }
    }
}

/// A call that a wallet made, so that the answer finds its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallId {
    pub(crate) wallet: usize,
    pub(crate) life: u64,
    pub(crate) request: u64,
}

/// What leaves a guardian.
#[derive(Debug)]
pub(crate) enum Effect {
    /// To all other guardians.
    Tell(SessionIndex, BTreeMap<PeerId, Signature>),
    /// To one guardian that is behind.
    Help(PeerId, SessionIndex, BTreeMap<PeerId, Signature>),
    /// To a wallet.
    Answer(CallId, Method, Result<Value, ApiError>),
    /// To the bitcoin network.
    Broadcast(bitcoin::Transaction),
    /// To the chain source.
    Fetch(Need),
}

/// A guardian's machine: it outlives its processes.
pub(crate) struct Guardian {
    pub(crate) me: PeerId,
    federation: &'static Federation,
    pub(crate) disk: CrashProne,
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    copy: Option<Snapshot>,
    block_vote_step: u64,
}

/// One life.
pub(crate) struct Process {
    pub(crate) me: PeerId,
    federation: &'static Federation,
    pub(crate) engine: Engine,
    store: Store,
    facts: Facts,
    pub(crate) chain: Option<ChainStatus>,
    queue: VecDeque<Vec<u8>>,
    pub(crate) in_flight: bool,
    submitted: BTreeMap<Vec<u8>, u64>,
    /// Units of earlier sessions are not told to this life.
    told_from: u64,
    cursor: (u64, u64),
    pending: VecDeque<Ordered>,
    is_fetching: bool,
    ended: BTreeMap<SessionIndex, (SessionHeader, Signature)>,
    signatures: BTreeMap<SessionIndex, BTreeMap<PeerId, Signature>>,
    waiting: Vec<Waiting>,
    behind_for: u32,
}

impl Guardian {
    pub(crate) fn new(me: PeerId, federation: &'static Federation, block_vote_step: u64) -> Self {
        let disk = CrashProne::new();
        Self { me, federation, disk, life: 0, process: None, copy: None, block_vote_step }
    }

    /// Starts a process. It is told units from `told_from` on; what is signed before is fetched.
    pub(crate) fn start(&mut self, told_from: u64) -> Result<(), Trouble> {
        self.life += 1;
        let federation = self.federation;
        let engine = federation.engine(self.me, self.block_vote_step);
        let store = self.disk.start();
        engine.check_books(&store.snapshot())?;
        let count = engine.session_count(&store.snapshot())?.0;
        let mut process = Process {
            me: self.me,
            federation,
            engine,
            store,
            facts: Facts::default(),
            chain: None,
            queue: VecDeque::new(),
            in_flight: false,
            submitted: BTreeMap::new(),
            told_from,
            cursor: (count, 0),
            pending: VecDeque::new(),
            is_fetching: false,
            ended: BTreeMap::new(),
            signatures: BTreeMap::new(),
            waiting: Vec::new(),
            behind_for: 0,
        };
        process.resume_signing()?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the process. Returns the calls that were waiting, whose connections break.
    pub(crate) fn crash(&mut self) -> Vec<CallId> {
        self.disk.crash();
        let process = self.process.take();
        process.map_or(Vec::new(), |process| process.waiting.iter().map(|w| w.call).collect())
    }

    /// Keeps a copy of the disk.
    pub(crate) fn keep_copy(&mut self) {
        self.copy = Some(self.disk.durable());
    }

    /// The disk is lost; the next process finds the copy, or nothing.
    pub(crate) fn lose_disk(&mut self) -> Result<Vec<CallId>, Trouble> {
        let calls = self.crash();
        self.disk = CrashProne::new();
        if let Some(copy) = &self.copy {
            let mut rows = Writes::new();
            for row in copy.scan(KeyRange::all(), Order::Ascending) {
                let (key, value) = row?;
                rows.put(key, value);
            }
            self.disk.start().commit(rows)?;
        }
        Ok(calls)
    }

    /// How far its disk is: the session, and the units of it that are processed.
    pub(crate) fn position(&self, engine: &Engine) -> Result<(u64, u64), StoreError> {
        let view = self.disk.durable();
        let count = engine.session_count(&view)?;
        let session = match engine.ended_session(&view, count)? {
            Some(_) => SessionIndex(count.0 + 1),
            None => count,
        };
        Ok((session.0, engine.progress(&view, session)?))
    }

    /// How many sessions are signed on its disk.
    pub(crate) fn session_count(&self) -> u64 {
        let engine = self.process.as_ref().map(|process| &process.engine);
        let count = engine.and_then(|engine| engine.session_count(&self.disk.durable()).ok());
        count.map_or(0, |count| count.0)
    }
}
impl Process {
    /// Whether everything that was ordered is processed, and every session that ended is signed.
    pub(crate) fn has_followed(&self, log: &Log) -> bool {
        let (session, position) = self.cursor;
        let (last, current) = log.current();
        let at_end = session == last as u64 && position == current.units.len() as u64;
        let behind_end = current.has_ended && session == last as u64 + 1;
        let is_signed = self.ended.is_empty();
        self.pending.is_empty() && is_signed && ((at_end && !current.has_ended) || behind_end)
    }

    /// Where it stands, for a failure's text.
    pub(crate) fn describe(&self) -> String {
        let (session, position) = self.cursor;
        format!(
            "at {session}/{position} with {} items queued, {} units pending, in flight {}, \
             fetching {}, {} sessions unsigned, {} calls waiting",
            self.queue.len(),
            self.pending.len(),
            self.in_flight,
            self.is_fetching,
            self.ended.len(),
            self.waiting.len(),
        )
    }

    /// A view of everything committed.
    pub(crate) fn view(&self) -> Snapshot {
        self.store.snapshot()
    }
}
