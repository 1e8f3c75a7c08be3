//! The log: commits that are durable and not yet in the tree.
//!
//! Two segments take turns. A commit is one record at the end of the active one, written and synced before the
//! next is begun, while what the other holds is written into the tree. A segment is used again, from its
//! beginning, when the tree has all of it.
//!
//! After a crash the records behind the last commit of the tree follow each other without a gap, and only the last
//! can be torn, which then nobody was told of. So a bad record is forgiven only if nothing says
//! that it was acknowledged. Two things would: each record names the one before it; and after each sync a mark
//! with its number is written into the other segment. Nothing waits for the sync of the mark: a power
//! cut may lose it, the end of the process does not.

use std::io;
use std::path::Path;

use super::files;
use super::record::{Head, StoreId};
use super::segment::{self, Found, RECORDS_AT, Segment};
use super::tree::damaged;
use crate::{Batch, StoreError};

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    id: StoreId,
    segments: [Segment; 2],
    /// Which segment takes records.
    active: usize,
    /// Where in it the next one begins.
    end: u64,
    /// The number of the last commit.
    last: u64,
    /// The length at which a segment is full. A single record may be longer.
    limit: u64,
}

/// What an opened log had beyond the tree.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The commits, oldest first.
    pub(super) batches: Vec<Batch>,
    /// Where a torn record lies: in which segment, and where in it.
    torn: Option<(usize, u64)>,
}

impl Log {
    /// Makes an empty log for the new store at `path`.
    pub(super) fn create(path: &Path, id: StoreId, limit: u64) -> Result<Self, StoreError> {
        let [first, second] = files::log_paths(path).map(|path| {
            let failed = |source| StoreError::Open { path: path.clone(), source };
            let segment = Segment::create(&path, id).map_err(failed)?;
            segment.lock(&path)?;
            Ok::<_, StoreError>(segment)
        });
        Ok(Self { id, segments: [first?, second?], active: 0, end: RECORDS_AT, last: 0, limit })
    }

    /// Opens the log of the store at `path`, whose tree has the commits up to `applied`. What it returns
    /// must be in the tree before anything is appended.
    ///
    /// Errors: `Damaged` if the log is not the one of this tree, or if a commit that was acknowledged is in neither
    /// of them; then nothing was changed. `InUse`, `Open`.
    pub(super) fn open(
        path: &Path,
        id: StoreId,
        applied: u64,
        limit: u64,
    ) -> Result<(Self, Replay), StoreError> {
        let [first, second] = files::log_paths(path).map(|path| Segment::open(&path, id));
        let (first, second) = (first?, second?);
        let contents = [first.1, second.1];
        let (replay, newest) = read(id, &contents, applied)?;
        let mut log = Self {
            id,
            segments: [first.0, second.0],
            // The newest record stays where it is until a newer one is whole: so the log can always show
            // that it is not older than the tree.
            active: 1 - newest,
            end: RECORDS_AT,
            last: applied + replay.batches.len() as u64,
            limit,
        };
        if let Some((segment, at)) = replay.torn {
            // Its number is given to another commit. There must not be two of the same number.
            log.erase(segment, at).map_err(|source| StoreError::Open {
                path: files::log_paths(path)[segment].clone(),
                source,
            })?;
        }
        Ok((log, replay))
    }

    pub(super) fn id(&self) -> StoreId {
        self.id
    }

    /// The number of the last commit.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a record of so many bytes still belongs into the active segment.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.end == RECORDS_AT || self.end + bytes as u64 <= self.limit
    }

    /// Appends the record of the next commit and syncs it.
    ///
    /// Errors: `NotCommitted` if there is no space for it, `CommitUnknown`.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), StoreError> {
        let end = self.end + record.len() as u64;
        let [one, two] = &mut self.segments;
        let (active, other) = if self.active == 0 { (one, two) } else { (two, one) };
        active.reserve(end, self.limit).map_err(|source| StoreError::NotCommitted { source })?;
        active
            .write(self.end, record)
            .and_then(|()| active.sync())
            .map_err(|source| StoreError::CommitUnknown { source })?;
        self.end = end;
        self.last += 1;
        // Without the mark the commit is as durable; only damage to it would pass for a torn record.
        drop(other.mark(self.id, self.last));
        Ok(())
    }

    /// Goes on in the other segment, all of which is in the tree.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let other = 1 - self.active;
        self.segments[other].shrink(self.limit)?;
        self.active = other;
        self.end = RECORDS_AT;
        Ok(())
    }

    fn erase(&mut self, segment: usize, at: u64) -> io::Result<()> {
        let segment = &mut self.segments[segment];
        segment.write(at, &[0; super::record::HEAD_BYTES])?;
        segment.sync()
    }
}

/// Finds what both segments have beyond commit `applied`, and in which of them the newest record lies.
fn read(id: StoreId, contents: &[Vec<u8>; 2], applied: u64) -> Result<(Replay, usize), StoreError> {
    let mut found: Vec<(usize, Found)> = Vec::new();
    for (segment, content) in contents.iter().enumerate() {
        found.extend(segment::heads(id, content).map(|found| (segment, found)));
    }
    let begun = |head: Head| head.acknowledged + u64::from(head.has_record());
    if found.iter().all(|(_, found)| begun(found.head) < applied) && applied > 0 {
        return Err(damaged(
            "its log is older than its tree; all files of a store belong together",
        ));
    }
    let acknowledged = found.iter().map(|(_, found)| found.head.acknowledged).max();
    found.retain(|(_, found)| found.head.has_record());
    found.sort_unstable_by_key(|(_, found)| found.head.acknowledged);
    let newest = found.last().map_or(1, |(segment, _)| *segment);

    let mut replay = Replay::default();
    let mut last = applied;
    for (segment, Found { head, at }) in found {
        if head.acknowledged < applied {
            continue;
        }
        let is_next = head.acknowledged == last && replay.torn.is_none();
        match head.read_rows(&contents[segment][at as usize..]) {
            Some(batch) if is_next => {
                replay.batches.push(batch);
                last += 1;
            }
            None if is_next => replay.torn = Some((segment, at)),
            _ => return Err(lost(last + 1)),
        }
    }
    match acknowledged {
        Some(acknowledged) if acknowledged > last => Err(lost(last + 1)),
        _ => Ok((replay, newest)),
    }
}

fn lost(number: u64) -> StoreError {
    damaged(format!(
        "commit {number} is torn or missing in its log, though it was acknowledged; restore all its files \
         together from one backup"
    ))
}

#[cfg(test)]
mod tests;
