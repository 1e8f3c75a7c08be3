//! The tree of a disk store: one redb file.
//!
//! Layout: a redb table of all rows, [`ROWS`], one of the values that are too large to lie among
//! others, [`LARGE`], and one of two rows about the log, [`LOG`]. redb writes whole leaves: a row of a few
//! bytes beside a value of a megabyte costs that megabyte each time it changes. The tables' names carry
//! the version.
//!
//! Commits are two-phase, which costs a second sync and gives in return that the newest commit is not given
//! up for the one before it: if its pages do not verify, the store refuses to open. Every open verifies
//! the checksum of every page, at a cost that grows with the file.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    StorageError, TableDefinition, TableError, TableHandle as _, TransactionError,
    WriteTransaction,
};

use super::record::StoreId;
use crate::{KeyRange, Order, Read, Scan, StoreError};

type Bytes = &'static [u8];

/// What the names of our tables have in common in every version.
const NAMES: &str = "moneta-";
/// All rows of a store, layout version 3. A value lies behind the mark [`INLINE`]; the mark [`ELSEWHERE`]
/// alone says that it is in [`LARGE`].
const ROWS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("moneta-3");
/// The values above [`INLINE_MAX_BYTES`], as they are, under the same keys.
const LARGE: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("moneta-3-large");
/// The id that the log has, too, under [`ID`], and under [`APPLIED`] the number of the last commit that
/// is in the tree, little-endian.
const LOG: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("moneta-3-log");

const ID: Bytes = b"id";
const APPLIED: Bytes = b"applied";

const INLINE: u8 = 0;
const ELSEWHERE: u8 = 1;

/// Half a page of redb: whatever lies beside a value of this size fits into the same page.
const INLINE_MAX_BYTES: usize = 2048;

/// The most memory that redb keeps pages in. The system caches the file besides, so a miss costs a
/// call; what is here is memory that nobody gets back.
const CACHE_BYTES: usize = 8 << 20;

/// The open tree. Its file is in use until the last view is dropped, too.
pub(super) struct Tree(Arc<Database>);

impl Tree {
    /// Lays out an empty tree in `file`, which is empty and lies at `path`.
    pub(super) fn create(file: File, path: &Path, id: StoreId) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_file(file).map_err(|error| from_database(path, error))?;
        let tree = Self(Arc::new(database));
        let laid_out = (|| -> Result<(), redb::Error> {
            let transaction = tree.0.begin_write()?;
            transaction.open_table(ROWS)?;
            transaction.open_table(LARGE)?;
            {
                let mut log = transaction.open_table(LOG)?;
                log.insert(ID, id.as_bytes())?;
                log.insert(APPLIED, 0_u64.to_le_bytes().as_slice())?;
            }
            Ok(transaction.commit()?)
        })();
        match laid_out {
            Ok(()) => Ok(tree),
            Err(error) => Err(StoreError::Open { path: path.to_owned(), source: io_error(error) }),
        }
    }

    /// Opens the tree at `path` with every page verified; with the id of the store, and the number of the
    /// last commit in it.
    pub(super) fn open(path: &Path) -> Result<(Self, StoreId, u64), StoreError> {
        let tree = Self(Arc::new(open_and_verify(path)?));
        let transaction = tree.begin_read()?;
        let log = match transaction.open_table(LOG) {
            Err(TableError::TableDoesNotExist(_)) if is_of_another_version(&transaction)? => {
                return Err(StoreError::OtherVersion { path: path.to_owned() });
            }
            opened => opened.map_err(from_table)?,
        };
        let row = |key| match log.get(key).map_err(from_storage)? {
            Some(row) => Ok(row.value().to_vec()),
            None => Err(damaged("it does not say what its log is")),
        };
        let id = StoreId::from_bytes(&row(ID)?);
        let applied = row(APPLIED)?.try_into().map(u64::from_le_bytes);
        let (Some(id), Ok(applied)) = (id, applied) else {
            return Err(damaged("what it says of its log is nonsense"));
        };
        drop((log, transaction));
        Ok((tree, id, applied))
    }

    pub(super) fn view(&self) -> Result<TreeView, StoreError> {
        let transaction = self.begin_read()?;
        Ok(TreeView {
            rows: transaction.open_table(ROWS).map_err(from_table)?,
            large: transaction.open_table(LARGE).map_err(from_table)?,
            _open: Arc::clone(&self.0),
        })
    }

    /// Writes `changes` in one transaction, and that they end with commit `applied` if it is given. Its
    /// error may mean anything between nothing and all of it on disk.
    pub(super) fn apply<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        applied: Option<u64>,
    ) -> io::Result<()> {
        self.try_apply(changes, applied).map_err(io_error)
    }

    fn try_apply<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        applied: Option<u64>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut rows = transaction.open_table(ROWS)?;
            // Few commits need it, and a table that was opened is written.
            let mut large = None;
            for (key, value) in changes {
                let is_large = value.is_some_and(|value| value.len() > INLINE_MAX_BYTES);
                let before = match value {
                    Some(value) if is_large => {
                        opened(&mut large, &transaction)?.insert(key, value)?;
                        rows.insert(key, [ELSEWHERE].as_slice())?
                    }
                    Some(value) => rows.insert(key, inline(value).as_slice())?,
                    None => rows.remove(key)?,
                };
                if before.is_some_and(|row| row.value() == [ELSEWHERE]) && !is_large {
                    opened(&mut large, &transaction)?.remove(key)?;
                }
            }
            if let Some(applied) = applied {
                transaction.open_table(LOG)?.insert(APPLIED, applied.to_le_bytes().as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.0.begin_read().map_err(|error| match error {
            TransactionError::Storage(error) => from_storage(error),
            other => StoreError::Read { source: io::Error::other(other.to_string()) },
        })
    }
}

/// [`LARGE`], opened at its first use in a transaction.
fn opened<'slot, 'transaction>(
    slot: &'slot mut Option<redb::Table<'transaction, Bytes, Bytes>>,
    transaction: &'transaction WriteTransaction,
) -> Result<&'slot mut redb::Table<'transaction, Bytes, Bytes>, TableError> {
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
pub(super) struct TreeView {
    rows: ReadOnlyTable<Bytes, Bytes>,
    large: ReadOnlyTable<Bytes, Bytes>,
    _open: Arc<Database>,
}

impl TreeView {
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

impl Read for TreeView {
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

/// Whether there is any table of ours, given that those of this version are not there.
fn is_of_another_version(transaction: &ReadTransaction) -> Result<bool, StoreError> {
    let mut tables = transaction.list_tables().map_err(from_storage)?;
    Ok(tables.any(|table| table.name().starts_with(NAMES)))
}

pub(super) fn damaged(reason: impl ToString) -> StoreError {
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

fn from_table(error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => from_storage(error),
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
