//! What a database has to offer, and the handles that are passed around.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scoped::ScopedSnapshot;
use crate::{Batch, KeyRange, Order, Read, Scan, StoreError, WriteSet};

/// A database: all it takes to be the ground of a [`Store`].
pub trait Backend: Send + Sync {
    /// Returns a view of everything committed so far.
    ///
    /// A backend that cannot open a view returns one whose every read is the error.
    fn snapshot(&self) -> Snapshot;

    /// Applies `batch` whole or not at all; durable when it returns `Ok`.
    ///
    /// Errors: `NotCommitted`, `CommitUnknown`, `Stopped`. Calls from several threads take turns.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;
}

/// A view of one moment of a store. Cloning it is cheap, and it may be kept and sent to other
/// threads; a disk store cannot reuse the space of what it replaced while an old view is held.
#[derive(Clone)]
pub struct Snapshot(Arc<dyn Read + Send + Sync>);

impl Snapshot {
    /// Makes a view of a reader that never changes.
    pub fn new(view: impl Read + Send + Sync + 'static) -> Self {
        Self(Arc::new(view))
    }

    /// Returns the view of the keys behind `prefix`, which it shows without it.
    pub fn scoped(&self, prefix: impl Into<Vec<u8>>) -> Self {
        Self::new(ScopedSnapshot::new(self.clone(), prefix.into()))
    }
}

impl Read for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        self.0.scan(range, order)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// A handle to a store. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    /// Held while one writer reads, decides and commits. It guards no data, so a writer that
    /// panicked leaves nothing half done and the next one may go on.
    writer: Mutex<()>,
    backend: Box<dyn Backend>,
}

impl Store {
    /// Makes a store of a backend.
    pub fn new(backend: impl Backend + 'static) -> Self {
        Self(Arc::new(Shared { writer: Mutex::new(()), backend: Box::new(backend) }))
    }

    /// Returns a view of everything committed so far.
    pub fn snapshot(&self) -> Snapshot {
        self.0.backend.snapshot()
    }

    /// Applies `batch` whole or not at all; durable when it returns `Ok`. Blocks on the disk.
    ///
    /// Errors: `NotCommitted`, `CommitUnknown`, `Stopped`.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let _writer = self.become_writer();
        self.0.backend.commit(batch)
    }

    /// Reads, decides and commits as the only writer: no other commit comes in between.
    ///
    /// Nothing is written if `decide` returns an error. `decide` must not commit to the same store:
    /// it would wait for itself.
    /// Errors: those of `decide`, and as [`Store::commit`].
    pub fn update<T, E: From<StoreError>>(
        &self,
        decide: impl FnOnce(&mut WriteSet<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writer = self.become_writer();
        let snapshot = self.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let value = decide(&mut writes)?;
        let batch = writes.into_batch();
        if !batch.is_empty() {
            self.0.backend.commit(batch)?;
        }
        Ok(value)
    }

    fn become_writer(&self) -> MutexGuard<'_, ()> {
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
