//! The backend on disk: a tree for the rows, and a log for the newest of them.
//!
//! A commit is one synced write into the log ([`log`]), whose place on the disk was prepared, and is shown from
//! memory ([`view`]). When the active half of the log is full, a thread writes all that it holds into
//! the tree ([`tree`]), in the order of keys, while commits go on in the other half.
//! Writing each commit into the tree would cost two syncs, and a page of 4 kB per row.
//!
//! What survives a crash: every commit that returned, and for the one that had not, all of it or
//! nothing. The tree knows the last commit that it has, and opening applies what the log has beyond it.
//! A record that is damaged is never taken for the end of the log unless it is the very last; see
//! [`log`] for what tells it. Opening verifies the checksum of every page of the tree, at a cost that grows
//! with it.
//!
//! One gap is known: if the machine loses power, and the last record that was acknowledged before is damaged
//! besides, nothing may tell it from one that the power cut tore.

mod files;
mod log;
mod record;
mod segment;
mod tree;
mod view;
mod writer;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::{Backend, Batch, Snapshot, Store, StoreError};
use log::Log;
use record::StoreId;
use tree::Tree;
use writer::{Rows, Writer};

/// When a half of the log is full. What it holds is in memory, too, in two to three times the space, and so
/// may the other half be. The larger, the more rows share each page that is written.
const LOG_BYTES: u64 = 4 << 20;

/// A store in three files, which belong to one process at a time.
///
/// The files stay in use until the last handle and the last snapshot are dropped. Dropping the last handle
/// writes what the log holds into the tree, as far as the disk takes it.
pub struct Disk {
    rows: Arc<Rows>,
    writer: Mutex<Writer>,
}

impl Disk {
    /// Creates an empty store at `path`. A crash leaves either no file there or a whole store; its files
    /// are built beside it, with `.new` added to their names. Only their owner can read them.
    ///
    /// Errors: `Exists`, `InUse` if another process creates it, `Open`.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::create_with(path.as_ref(), LOG_BYTES)
    }

    /// Opens the store at `path`, after a crash too, and verifies all of it.
    ///
    /// Errors: `Missing`, `InUse`, `Open`, `OtherVersion`, and `Damaged` if a file is empty, torn,
    /// altered or of another store. Damaged files are left as they are, as far as redb knows its own to be
    /// damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), LOG_BYTES)
    }

    /// Opens the store at `path`, or creates it if there is no such file.
    ///
    /// For an owner that knows whether it has a store, [`Disk::open`] is the safer one: a folder that
    /// is not mounted looks like a new beginning.
    /// Errors: as [`Disk::open`] and [`Disk::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_or_create_with(path.as_ref(), LOG_BYTES)
    }

    /// The files of a store at `path`, the one at `path` itself last: with it the store is there. They
    /// belong together, and are copied and moved while the store is closed.
    pub fn files(path: impl AsRef<Path>) -> [PathBuf; 3] {
        let path = path.as_ref();
        let [first, second] = files::log_paths(path);
        [first, second, path.to_owned()]
    }

    /// Puts the store behind a handle.
    pub fn into_store(self) -> Store {
        Store::new(self)
    }

    pub(crate) fn open_or_create_with(path: &Path, log_bytes: u64) -> Result<Self, StoreError> {
        match Self::open_with(path, log_bytes) {
            Err(StoreError::Missing { .. }) => Self::create_with(path, log_bytes),
            opened => opened,
        }
    }

    fn create_with(path: &Path, log_bytes: u64) -> Result<Self, StoreError> {
        refuse_existing(path)?;
        let building = files::beside(path, ".new");
        let failed = |source| StoreError::Open { path: building.clone(), source };
        let file = files::open_private(&building).map_err(failed)?;
        files::lock(&file, &building)?;
        // Again, under the lock: another process may have finished in between, and the file may even
        // be the one that it moved to `path`.
        refuse_existing(path)?;
        file.set_len(0).map_err(failed)?;

        let id = StoreId::random().map_err(failed)?;
        let tree = Tree::create(file, &building, id)?;
        // A log without a tree is nothing, a tree without its log is damaged.
        let log = Log::create(path, id, log_bytes)?;
        files::sync_folder_of(path).map_err(failed)?;
        fs::rename(&building, path).map_err(failed)?;
        files::sync_folder_of(path).map_err(failed)?;
        Self::new(tree, log)
    }

    fn open_with(path: &Path, log_bytes: u64) -> Result<Self, StoreError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() == 0 => return Err(tree::damaged("the file is empty")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { path: path.to_owned() });
            }
            Err(source) => return Err(StoreError::Open { path: path.to_owned(), source }),
        }
        let (tree, id, applied) = Tree::open(path)?;
        let (log, replay) = Log::open(path, id, applied, log_bytes)?;
        let disk = Self::new(tree, log)?;
        disk.replay(replay.batches, path)?;
        Ok(disk)
    }

    fn new(tree: Tree, log: Log) -> Result<Self, StoreError> {
        Ok(Self { rows: Arc::new(Rows::new(tree)?), writer: Mutex::new(Writer::new(log)) })
    }

    /// Writes what only the log has into the tree.
    fn replay(&self, batches: Vec<Batch>, path: &Path) -> Result<(), StoreError> {
        for batch in batches {
            self.rows.publish(batch);
        }
        let mut writer = self.writer.lock().map_err(|_| StoreError::Stopped)?;
        writer
            .flush_all(&self.rows)
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })
    }
}

impl Backend for Disk {
    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.rows.view())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        // A commit that panicked may have left anything.
        let mut writer = self.writer.lock().map_err(|_| StoreError::Stopped)?;
        writer.commit(batch, &self.rows)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Ok(writer) = self.writer.get_mut() {
            writer.close(&self.rows);
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

fn refuse_existing(path: &Path) -> Result<(), StoreError> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Exists { path: path.to_owned() }),
        Err(source) => Err(StoreError::Open { path: path.to_owned(), source }),
    }
}
