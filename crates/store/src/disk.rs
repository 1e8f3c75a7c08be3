//! The backend on disk: one redb file.
//!
//! Layout: a redb table of all rows, [`ROWS`], and one of the values that are too large to lie among
//! others, [`LARGE`]. redb writes whole leaves: a row of a few bytes beside a value of a megabyte costs
//! that megabyte each time it changes. The tables' names carry the version.
//!
//! What survives a crash: every commit that returned, and for the one that had not, all of it or
//! nothing. Commits are two-phase, which costs a second sync and gives in return that the newest
//! commit is not given up for the one before it: if its pages do not verify, the store refuses to
//! open. Every open verifies the checksum of every page, at a cost that grows with the file.
//!
//! One gap is known: after a kill, and until the next open, the bit that tells which of the last two
//! commits is the newer stands alone in the file. If just that bit rots, the store opens one commit older.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use crate::{Backend, Batch, KeyRange, Order, Read, Scan, Snapshot, Store, StoreError};

/// All rows of a store, layout version 2. A value lies behind the mark [`INLINE`]; the mark [`ELSEWHERE`]
/// alone says that it is in [`LARGE`].
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("moneta-2");
/// The values above [`INLINE_MAX_BYTES`], as they are, under the same keys.
const LARGE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("moneta-2-large");

const INLINE: u8 = 0;
const ELSEWHERE: u8 = 1;

/// Half a page of redb: whatever lies beside a value of this size fits into the same page.
const INLINE_MAX_BYTES: usize = 2048;

/// The most memory that redb keeps pages in. The system caches the file besides, so a miss costs a
/// call; what is here is memory that nobody gets back.
const CACHE_BYTES: usize = 8 << 20;

/// A store in a file, which belongs to one process at a time.
///
/// The file stays in use until the last handle and the last snapshot are dropped.
#[derive(Debug)]
pub struct Disk {
    database: Arc<Database>,
    stopped: AtomicBool,
}

impl Disk {
    /// Creates an empty store at `path`. A crash leaves either no file there or a whole one; the file
    /// is built beside it, at `path` with `.new` added. Only its owner can read it.
    ///
    /// Errors: `Exists`, `InUse` if another process creates it, `Open`.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        refuse_existing(path)?;
        let mut building = path.as_os_str().to_owned();
        building.push(".new");
        let building = PathBuf::from(building);
        let failed = |source| StoreError::Open { path: building.clone(), source };

        let mut options = OpenOptions::new();
        // A store holds money and keys.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&building)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: building }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Again, under the lock: another process may have finished in between, and the file may even
        // be the one that it moved to `path`.
        refuse_existing(path)?;
        file.set_len(0).map_err(failed)?;

        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database =
            builder.create_file(file).map_err(|error| from_database(&building, error))?;
        let disk = Self::new(database);
        disk.lay_out().map_err(|error| failed(io_error(error)))?;
        fs::rename(&building, path).map_err(failed)?;
        sync_folder_of(path).map_err(failed)?;
        Ok(disk)
    }

    /// Opens the store at `path`, after a crash too, and verifies all of it.
    ///
    /// Errors: `Missing`, `InUse`, `Open`, and `Damaged` if the file is empty, torn, altered or no
    /// store. A damaged file is left as it is, as far as redb knows it to be damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() == 0 => return Err(damaged("the file is empty")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { path: path.to_owned() });
            }
            Err(source) => return Err(StoreError::Open { path: path.to_owned(), source }),
        }

        let database = open_and_verify(path)?;
        let disk = Self::new(database);
        disk.view()?;
        Ok(disk)
    }

    /// Opens the store at `path`, or creates it if there is no such file.
    ///
    /// For an owner that knows whether it has a store, [`Disk::open`] is the safer one: a folder that
    /// is not mounted looks like a new beginning.
    /// Errors: as [`Disk::open`] and [`Disk::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        match Self::open(&path) {
            Err(StoreError::Missing { .. }) => Self::create(path),
            opened => opened,
        }
    }

    /// Puts the store behind a handle.
    pub fn into_store(self) -> Store {
        Store::new(self)
    }

    fn new(database: Database) -> Self {
        Self { database: Arc::new(database), stopped: AtomicBool::new(false) }
    }

    fn view(&self) -> Result<View, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| match error {
            redb::TransactionError::Storage(error) => from_storage(error),
            other => StoreError::Read { source: io::Error::other(other.to_string()) },
        })?;
        let open = |table| {
            transaction.open_table(table).map_err(|error| match error {
                TableError::Storage(error) => from_storage(error),
                other => damaged(other),
            })
        };
        Ok(View { rows: open(ROWS)?, large: open(LARGE)?, _open: Arc::clone(&self.database) })
    }

    /// Makes the tables.
    fn lay_out(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.open_table(LARGE)?;
        transaction.commit()?;
        Ok(())
    }

    /// One redb transaction. Its error may mean anything between nothing and all of it on disk.
    fn commit_to_file(&self, batch: Batch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            // Few commits need it, and a table that was opened is written.
            let mut large = None;
            for (key, value) in batch {
                let key = key.as_slice();
                let is_large = value.as_ref().is_some_and(|value| value.len() > INLINE_MAX_BYTES);
                let before = match &value {
                    Some(value) if is_large => {
                        opened(&mut large, &transaction)?.insert(key, value.as_slice())?;
                        rows.insert(key, [ELSEWHERE].as_slice())?
                    }
                    Some(value) => rows.insert(key, inline(value).as_slice())?,
                    None => rows.remove(key)?,
                };
                if before.is_some_and(|row| row.value() == [ELSEWHERE]) && !is_large {
                    opened(&mut large, &transaction)?.remove(key)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Backend for Disk {
    fn snapshot(&self) -> Snapshot {
        match self.view() {
            Ok(view) => Snapshot::new(view),
            Err(error) => Snapshot::new(Unreadable(error.to_string())),
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(StoreError::Stopped);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.commit_to_file(batch).map_err(|error| {
            // Which pages reached the disk is unknown, so nothing may be built on them.
            self.stopped.store(true, Ordering::SeqCst);
            StoreError::CommitUnknown { source: io_error(error) }
        })
    }
}

/// [`LARGE`], opened at its first use in a transaction.
fn opened<'slot, 'transaction>(
    slot: &'slot mut Option<redb::Table<'transaction, &'static [u8], &'static [u8]>>,
    transaction: &'transaction WriteTransaction,
) -> Result<&'slot mut redb::Table<'transaction, &'static [u8], &'static [u8]>, TableError> {
    match slot {
        Some(table) => Ok(table),
        None => Ok(slot.insert(transaction.open_table(LARGE)?)),
    }
}

fn inline(value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(value.len() + 1);
    row.push(INLINE);
    row.extend_from_slice(value);
    row
}

/// The rows at one moment. It keeps the file open, and so in use.
struct View {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    large: ReadOnlyTable<&'static [u8], &'static [u8]>,
    _open: Arc<Database>,
}

impl View {
    /// The value of the row that is `row` in [`ROWS`].
    fn value(&self, key: &[u8], row: &[u8]) -> Result<Vec<u8>, StoreError> {
        match row {
            [INLINE, value @ ..] => Ok(value.to_vec()),
            [ELSEWHERE] => match self.large.get(key).map_err(from_storage)? {
                Some(value) => Ok(value.value().to_vec()),
                None => Err(damaged("a large value is missing")),
            },
            _ => Err(damaged("a row without a known mark")),
        }
    }
}

impl Read for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.rows.get(key).map_err(from_storage)?;
        row.map(|row| self.value(key, row.value())).transpose()
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        // redb, unlike the standard map, has no empty range of equal bounds.
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = range.bounds();
        let rows = match self.rows.range::<&[u8]>(bounds) {
            Ok(rows) => rows,
            Err(error) => return Box::new(std::iter::once(Err(from_storage(error)))),
        };
        let rows: Box<dyn Iterator<Item = _>> = match order {
            Order::Ascending => Box::new(rows),
            Order::Descending => Box::new(rows.rev()),
        };
        let mut failed = false;
        Box::new(rows.map_while(move |row| {
            if failed {
                return None;
            }
            let row = row.map_err(from_storage).and_then(|(key, row)| {
                Ok((key.value().to_vec(), self.value(key.value(), row.value())?))
            });
            failed = row.is_err();
            Some(row)
        }))
    }
}

/// What a snapshot is when none could be taken: the reason, at every read.
struct Unreadable(String);

impl Unreadable {
    fn error(&self) -> StoreError {
        StoreError::Read { source: io::Error::other(self.0.clone()) }
    }
}

impl Read for Unreadable {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Err(self.error())
    }

    fn scan(&self, _range: KeyRange, _order: Order) -> Scan<'_> {
        Box::new(std::iter::once(Err(self.error())))
    }
}

/// Opens the file with every page verified.
///
/// redb verifies the rows, but reads its own tables, that of free pages first, before it can know
/// them to be whole, and panics on nonsense there. Nothing but this call holds the half-opened database, so the
/// panic ends here, as the damage that it is.
fn open_and_verify(path: &Path) -> Result<Database, StoreError> {
    let opened = panic::catch_unwind(|| {
        // A repair after a crash verifies everything, so it need not be done twice.
        let repaired = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&repaired);
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(move |_| noted.store(true, Ordering::Relaxed));
        let mut database = builder.open(path)?;
        if !repaired.load(Ordering::Relaxed) {
            // `false` says that the table of free pages had to be rebuilt: no row is lost.
            database.check_integrity()?;
        }
        Ok(database)
    });
    match opened {
        Ok(opened) => opened.map_err(|error| from_database(path, error)),
        Err(_panic) => Err(damaged("its inner tables are nonsense")),
    }
}

fn refuse_existing(path: &Path) -> Result<(), StoreError> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Exists { path: path.to_owned() }),
        Err(source) => Err(StoreError::Open { path: path.to_owned(), source }),
    }
}

/// Makes a rename in the folder of `path` durable. Windows has no such call and needs none.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn damaged(reason: impl ToString) -> StoreError {
    StoreError::Damaged { reason: reason.to_string() }
}

fn from_database(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(source),
            _ => StoreError::Open { path: path.to_owned(), source },
        },
        other => damaged(other),
    }
}

fn from_storage(error: StorageError) -> StoreError {
    match error {
        StorageError::Corrupted(reason) => StoreError::Damaged { reason },
        StorageError::Io(source) => StoreError::Read { source },
        other => StoreError::Read { source: io::Error::other(other.to_string()) },
    }
}

fn io_error(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(source) => source,
        other => io::Error::other(other.to_string()),
    }
}
