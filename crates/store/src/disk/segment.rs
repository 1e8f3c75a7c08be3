//! One of the two files of a log.
//!
//! Layout: a block that says which store it belongs to, a block with a mark, and records from there on, each at
//! the beginning of a block. What lies behind the last record is zeros or left from an earlier use.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::files;
use super::record::{BLOCK_BYTES, HEAD_BYTES, Head, StoreId};
use super::tree::damaged;
use crate::StoreError;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Where the mark lies.
const MARK_AT: u64 = BLOCK;
/// Where the first record lies.
pub(super) const RECORDS_AT: u64 = 2 * BLOCK;

/// What a new segment has, and the wallet of a user seldom outgrows.
const FIRST_BYTES: u64 = 64 << 10;

/// Log, version 1.
const MAGIC: &[u8; 16] = b"moneta log 1\r\n\0\xff";

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// Up to here every block was written once. Writing such a block again needs no change to the file
    /// system's tables, which makes its sync several times cheaper, and no space.
    length: u64,
}

/// A head that was found in a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) head: Head,
    /// Where it lies.
    pub(super) at: u64,
}

impl Segment {
    /// Makes an empty segment at `path`, in the place of whatever lies there.
    pub(super) fn create(path: &Path, id: StoreId) -> io::Result<Self> {
        let building = files::beside(path, ".new");
        let file = files::open_private(&building)?;
        file.set_len(0)?;
        let mut segment = Self { file, length: 0 };
        segment.reserve(FIRST_BYTES, FIRST_BYTES)?;
        segment.write(0, &title(id))?;
        segment.sync()?;
        fs::rename(&building, path)?;
        Ok(segment)
    }

    /// Opens the segment at `path`, with all that it contains.
    pub(super) fn open(path: &Path, id: StoreId) -> Result<(Self, Vec<u8>), StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let name = path.display();
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(format!(
                    "{name} is missing, a part of its log; bring it back, or restore all its files \
                     together from one backup"
                )));
            }
            Err(source) => return Err(failed(source)),
        };
        files::lock(&file, path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        match content.get(..HEAD_BYTES) {
            Some(found) if found == title(id) => {}
            Some(found) if is_title(found) => {
                return Err(damaged(format!(
                    "{name} is the log of another store; all files of a store belong together"
                )));
            }
            _ => return Err(damaged(format!("{name} is torn, or no log"))),
        }
        Ok((Self { file, length: content.len() as u64 }, content))
    }

    /// Locks the segment, which lies at `path`, until it is dropped. An open one is locked.
    pub(super) fn lock(&self, path: &Path) -> Result<(), StoreError> {
        files::lock(&self.file, path)
    }

    /// Makes room up to `end`, and up to `limit` by and by.
    pub(super) fn reserve(&mut self, end: u64, limit: u64) -> io::Result<()> {
        if end <= self.length {
            return Ok(());
        }
        let length = end.max(limit.min(2 * self.length)).next_multiple_of(BLOCK);
        let made = self.zero(length).and_then(|()| self.file.sync_all());
        match made {
            Ok(()) => self.length = length,
            // What was made in part is of no use and somebody may need the space.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        made
    }

    fn zero(&mut self, end: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        // Block by block: Linux keeps in one unit what is written at once, and counts the whole unit as written
        // when a page in it is.
        (self.length..end)
            .step_by(BLOCK_BYTES)
            .try_for_each(|_| self.file.write_all(&[0; BLOCK_BYTES]))
    }

    /// Gives back what a very large record made it grow by.
    pub(super) fn shrink(&mut self, limit: u64) -> io::Result<()> {
        if self.length > limit.saturating_mul(2).max(FIRST_BYTES) {
            let length = limit.next_multiple_of(BLOCK).max(FIRST_BYTES);
            self.file.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }

    /// Writes `bytes` at `place`, where there is room, without a sync.
    pub(super) fn write(&mut self, place: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(bytes)
    }

    /// Sets the mark, without a sync.
    pub(super) fn mark(&mut self, id: StoreId, acknowledged: u64) -> io::Result<()> {
        self.write(MARK_AT, &Head::mark(acknowledged).to_bytes(id))
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// All heads in the content of a segment.
pub(super) fn heads(id: StoreId, content: &[u8]) -> impl Iterator<Item = Found> {
    let blocks = (MARK_AT..content.len() as u64).step_by(BLOCK_BYTES);
    blocks.filter_map(move |at| {
        let head = Head::read(id, content.get(at as usize..)?)?;
        Some(Found { head, at })
    })
}

/// What a segment of the store `id` begins with: magic, id, and a tag of both.
fn title(id: StoreId) -> [u8; HEAD_BYTES] {
    let mut title = [0; HEAD_BYTES];
    title[..16].copy_from_slice(MAGIC);
    title[16..32].copy_from_slice(id.as_bytes());
    let tag = id.tag(&title[..48]);
    title[48..].copy_from_slice(&tag);
    title
}

fn is_title(bytes: &[u8]) -> bool {
    let id = bytes.get(16..32).and_then(StoreId::from_bytes);
    id.is_some_and(|id| bytes == title(id))
}
