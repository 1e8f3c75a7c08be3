//! A store that crashes and fails on demand, for tests and the simulator.

use std::io;
#[cfg(feature = "disk")]
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Backend, Batch, Memory, Snapshot, Store, StoreError};

/// Opens or creates a disk store as [`crate::Disk::open_or_create`] does, with halves of its log that are full
/// at `log_bytes`: so that what is rare comes often.
#[cfg(feature = "disk")]
pub fn disk_with_short_log(
    path: impl AsRef<Path>,
    log_bytes: u64,
) -> Result<crate::Disk, StoreError> {
    crate::Disk::open_or_create_with(path.as_ref(), log_bytes)
}

/// What goes wrong at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The commit is refused with `NotCommitted`; the store lives on.
    Refuse,
    /// Nothing is applied, the caller learns only `CommitUnknown`, and the store stops.
    FailBefore,
    /// The batch is applied, yet the caller learns only `CommitUnknown`, and the store stops.
    FailAfter,
    /// The process dies before the batch is applied.
    CrashBefore,
    /// The process dies when the batch is applied, before the caller learns of it.
    CrashAfter,
}

/// A disk that outlives the processes that use it, in memory.
///
/// [`CrashProne::start`] gives the store to one life of a process. A crash ends that life: every
/// later commit through its handles is lost with `Stopped`, views it took stay readable, and the
/// next life starts from exactly the commits that were applied. Clones share the disk.
#[derive(Clone)]
pub struct CrashProne(Arc<Disk>);

struct Disk {
    durable: Memory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the running life. Handles of other lives are dead.
    life: u64,
    alive: bool,
    /// How many commits were attempted in all lives.
    attempts: u64,
    /// The fault to strike at that attempt.
    fault: Option<(u64, Fault)>,
}

impl CrashProne {
    /// An empty disk with no process on it.
    pub fn new() -> Self {
        Self(Arc::new(Disk { durable: Memory::new(), state: Mutex::new(State::default()) }))
    }

    /// Starts a process on what was applied so far. A former one that still runs is ended first.
    pub fn start(&self) -> Store {
        let mut state = self.state();
        state.life += 1;
        state.alive = true;
        Store::new(Life { disk: self.clone(), number: state.life })
    }

    /// Ends the running process. Commits that returned are kept; any later one is lost.
    pub fn crash(&self) {
        self.state().alive = false;
    }

    /// Lets `fault` strike at the `nth` commit from now, 1 being the next, in whichever life it
    /// comes. Replaces a fault that has not struck yet.
    pub fn strike(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.attempts.saturating_add(nth), fault));
    }

    /// How many commits were attempted in all lives, failed ones included: the number of places
    /// at which a scenario can be made to crash.
    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// Whether a process runs: false after a crash, or after a fault that stopped the store.
    pub fn is_alive(&self) -> bool {
        self.state().alive
    }

    /// A view of what was applied so far, which is what the next life will find.
    pub fn durable(&self) -> Snapshot {
        self.0.durable.snapshot()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, life: u64, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.alive || state.life != life {
            return Err(StoreError::Stopped);
        }
        state.attempts += 1;
        let attempt = state.attempts;
        let Some((_, fault)) = state.fault.take_if(|(at, _)| *at == attempt) else {
            return self.0.durable.commit(batch);
        };
        let source = io::Error::other("injected fault");
        if fault == Fault::Refuse {
            return Err(StoreError::NotCommitted { source });
        }
        state.alive = false;
        if matches!(fault, Fault::FailAfter | Fault::CrashAfter) {
            self.0.durable.commit(batch)?;
        }
        match fault {
            Fault::CrashBefore | Fault::CrashAfter => Err(StoreError::Stopped),
            _ => Err(StoreError::CommitUnknown { source }),
        }
    }
}

impl Default for CrashProne {
    fn default() -> Self {
        Self::new()
    }
}

/// The store of one life of a process.
struct Life {
    disk: CrashProne,
    number: u64,
}

impl Backend for Life {
    fn snapshot(&self) -> Snapshot {
        self.disk.durable()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.disk.commit(self.number, batch)
    }
}
