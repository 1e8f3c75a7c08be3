//! Committing, and the moving of what was committed from the log into the tree.

use std::io;
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use super::log::Log;
use super::record;
use super::tree::Tree;
use super::view::{Changes, View};
use crate::{Batch, StoreError};

/// How many rows one transaction of the tree changes. If each lies in another page, these are 4 MB, which is
/// what redb has room for: what it has to put aside it writes twice.
const PART_ROWS: usize = 1000;

/// The rows that snapshots show, shared by the writer and the thread that fills the tree.
pub(super) struct Rows {
    tree: Tree,
    newest: RwLock<View>,
}

impl Rows {
    pub(super) fn new(tree: Tree) -> Result<Self, StoreError> {
        let (flushing, recent) = (Changes::default(), Changes::default());
        let newest = View { tree: Arc::new(tree.view()?), flushing, recent };
        Ok(Self { tree, newest: RwLock::new(newest) })
    }

    /// Everything committed so far.
    pub(super) fn view(&self) -> View {
        // A poisoned lock still holds a whole view: each change to it is one assignment.
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a commit. Only one thread may do this at a time.
    pub(super) fn publish(&self, batch: Batch) {
        let mut recent = self.view().recent;
        recent.absorb(batch);
        self.change(|newest| mem::replace(&mut newest.recent, recent));
    }

    /// Puts aside what was committed, to be flushed. The former flush is done.
    fn freeze(&self) {
        self.change(|newest| newest.flushing = mem::take(&mut newest.recent));
    }

    /// Writes into the tree what was put aside, which leads to commit `applied`.
    ///
    /// In parts, the last of which has the number. After a crash between two of them the log still has all,
    /// and writing it again changes nothing.
    fn flush(&self, applied: u64) -> io::Result<()> {
        let flushing = self.view().flushing;
        let mut changes = flushing.iter();
        let parts = flushing.len().div_ceil(PART_ROWS);
        for part in 1..=parts {
            let applied = (part == parts).then_some(applied);
            self.tree.apply(changes.by_ref().take(PART_ROWS), applied)?;
            // A newer view in each, so that the next but one may use the pages that this one replaced.
            let tree = Arc::new(self.tree.view().map_err(io::Error::other)?);
            self.change(|newest| mem::replace(&mut newest.tree, tree));
        }
        self.change(|newest| mem::take(&mut newest.flushing));
        Ok(())
    }

    /// Changes the view. What it returns is dropped when the lock is released, since it may be large.
    fn change<T>(&self, change: impl FnOnce(&mut View) -> T) {
        let replaced = change(&mut self.newest.write().unwrap_or_else(PoisonError::into_inner));
        drop(replaced);
    }
}

/// The one that commits.
#[derive(Debug)]
pub(super) struct Writer {
    log: Log,
    /// Writes the other segment of the log into the tree.
    flush: Option<JoinHandle<io::Result<()>>>,
    stopped: bool,
}

impl Writer {
    pub(super) fn new(log: Log) -> Self {
        Self { log, flush: None, stopped: false }
    }

    /// As `Backend::commit`.
    pub(super) fn commit(&mut self, batch: Batch, rows: &Arc<Rows>) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let not_committed = |source| StoreError::NotCommitted { source };
        if self.flush.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end_flush().map_err(not_committed)?;
        }
        let record =
            record::encode(self.log.id(), self.log.last(), &batch).map_err(not_committed)?;
        if !self.log.has_room(record.len()) {
            self.begin_flush(rows).map_err(not_committed)?;
        }
        self.log.append(&record).inspect_err(|error| {
            // What reached the disk is unknown, so nothing may be written behind it.
            self.stopped = matches!(error, StoreError::CommitUnknown { .. });
        })?;
        rows.publish(batch);
        Ok(())
    }

    /// Goes on in the other segment and writes this one into the tree. Waits until the other one is
    /// in it.
    fn begin_flush(&mut self, rows: &Arc<Rows>) -> io::Result<()> {
        self.end_flush()?;
        self.log.turn()?;
        rows.freeze();
        let (rows, applied) = (Arc::clone(rows), self.log.last());
        let flush = thread::Builder::new().name("store-flush".to_owned());
        match flush.spawn(move || rows.flush(applied)) {
            Ok(flush) => self.flush = Some(flush),
            Err(error) => {
                // The log has what was put aside, and the next start applies it.
                self.stopped = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits for the flush that runs. If it failed the store stops: the log would never end.
    fn end_flush(&mut self) -> io::Result<()> {
        let Some(flush) = self.flush.take() else { return Ok(()) };
        let flushed = flush.join().unwrap_or_else(|_panic| {
            Err(io::Error::other("the thread that writes into the tree panicked"))
        });
        self.stopped |= flushed.is_err();
        flushed
    }

    /// Writes everything into the tree and waits for it.
    pub(super) fn flush_all(&mut self, rows: &Rows) -> io::Result<()> {
        self.end_flush()?;
        if rows.view().recent.is_empty() {
            return Ok(());
        }
        rows.freeze();
        let flushed = rows.flush(self.log.last());
        self.stopped |= flushed.is_err();
        flushed
    }

    /// Ends what runs, so that nobody uses the files any more. What cannot be flushed stays in the
    /// log, and the next start applies it.
    pub(super) fn close(&mut self, rows: &Rows) {
        match self.stopped {
            true => drop(self.end_flush()),
            false => drop(self.flush_all(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use crate::{Backend, Batch, Disk, KeyRange, Order, Read};

    /// A crash between two parts of a flush: the tree has some of the changes, and not their number.
    #[test]
    fn tree_that_has_a_part_of_the_changes_gets_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        let disk = Disk::create(&file).unwrap();
        let mut batch = Batch::new();
        (0..100_u8).for_each(|key| batch.put([key], [1]));
        disk.commit(batch).unwrap();
        drop(disk);
        let disk = Disk::open(&file).unwrap();
        for number in 2..5 {
            let mut batch = Batch::new();
            (0..100_u8).filter(|key| key % number == 0).for_each(|key| batch.put([key], [number]));
            (0..100_u8).filter(|key| key % number == 1).for_each(|key| batch.delete([key]));
            disk.commit(batch).unwrap();
        }
        let before = disk.snapshot();
        let rows = |disk: &Disk| {
            let view = disk.snapshot();
            let rows = view.scan(KeyRange::all(), Order::Descending);
            rows.collect::<Result<Vec<_>, _>>().unwrap()
        };
        for part in [0, 1, 10, 30] {
            disk.rows.tree.apply(disk.rows.view().recent.iter().take(part), None).unwrap();
            let killed = folder.path().join(format!("killed-{part}"));
            for (own, copy) in Disk::files(&file).iter().zip(Disk::files(&killed)) {
                fs::copy(own, copy).unwrap();
            }
            assert_eq!(rows(&Disk::open(killed).unwrap()), rows(&disk));
            assert_eq!(before.get(&[0]).unwrap(), Some(vec![4]));
        }
    }
}
