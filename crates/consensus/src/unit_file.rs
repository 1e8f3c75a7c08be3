//! The unit file: everything AlephBFT took into its graph in one session, append-only.
//!
//! A guardian that forgot a unit of its own and signs another for the same round has said two
//! things, which is the one offence agreement is built against. So an own unit is synced to disk
//! before it leaves, and whoever cannot be sure of its file keeps silent for the session.
//!
//! ```text
//! header  "MONETAUF", version u8 = 1, silence u8 (0 none | 1 missing | 2 damaged), session u64,
//!         checksum
//! record  length u32 (1 ..= RECORD_LIMIT_BYTES), checksum of length and bytes, bytes
//! ```
//!
//! Numbers are big endian; a checksum is the first 8 bytes of SHA-256. Files are named
//! `session-<index>.units`. A power loss can tear what was not synced, the end of the file: the
//! intact records before it are kept and the rest is cut off, which is safe since no own unit in
//! it had left. A bad record *followed by an intact one* is damage. The file is then set aside
//! as `.damaged`, and a new one that records the silence takes its place, so that a second restart
//! does not forget it.
//!
//! A peer may put the bytes of an intact record into a unit of its own. Torn in just that record, the file
//! counts as damaged and the guardian keeps silent for a session without need, which harms nobody.
//!
//! The local log of a federation of one uses the same records.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aleph_bft::Hasher as _;

use crate::keys::Sha256;

const MAGIC: &[u8; 8] = b"MONETAUF";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
const HEADER_BYTES: usize = 8 + 1 + 1 + 8 + CHECKSUM_BYTES;
const RECORD_HEAD_BYTES: usize = 4 + CHECKSUM_BYTES;
/// More than the largest unit: its data and, at 80 guardians, less than 1 kB of the rest.
const RECORD_LIMIT_BYTES: usize = 1 << 20;

/// Whether the guardian keeps silent in the session of a file, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It does not.
    #[default]
    None = 0,
    /// A former file was missing.
    Missing = 1,
    /// A former file was damaged.
    Damaged = 2,
}

/// The intact content of a file, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The records before the first bad one, in the order they were written.
    pub(crate) records: Vec<Vec<u8>>,
    /// What the header says.
    pub(crate) silence: Silence,
    /// The length of the intact part.
    intact_bytes: u64,
    /// The header is bad, or an intact record follows a bad one.
    pub(crate) damaged: bool,
}

/// An open file of one session. Appending is cheap and goes to the system; syncing is not and is
/// to be called off the async threads.
#[derive(Debug)]
pub(crate) struct UnitFile {
    file: Mutex<File>,
    sync_handle: File,
    written: AtomicU64,
    synced: AtomicU64,
}

impl UnitFile {
    /// Creates the file anew and durably, in place of one that may be there.
    pub(crate) fn create(dir: &Path, session: u64, silence: Silence) -> io::Result<Self> {
        let path = path(dir, session);
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&header(session, silence))?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        sync_dir(dir)?;
        Self::over(file)
    }

    /// Reads a file and opens it to be continued after its intact part, unless it is damaged.
    /// `None` if there is no such file.
    pub(crate) fn open(dir: &Path, session: u64) -> io::Result<Option<(Content, Option<Self>)>> {
        let path = path(dir, session);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let content = scan(&bytes, session);
        if content.damaged {
            return Ok(Some((content, None)));
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        if content.intact_bytes < bytes.len() as u64 {
            file.set_len(content.intact_bytes)?;
        }
        // What was written but not synced before a crash of the process alone is still only in
        // the system's memory, and is about to be built upon.
        file.sync_all()?;
        Ok(Some((content, Some(Self::over(file)?))))
    }

    fn over(file: File) -> io::Result<Self> {
        let sync_handle = file.try_clone()?;
        Ok(Self {
            file: Mutex::new(file),
            sync_handle,
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
        })
    }

    /// Appends a record of at least one byte. Not durable until [`Self::sync`].
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() > RECORD_LIMIT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no record has this length"));
        }
        let length = (bytes.len() as u32).to_be_bytes();
        let record = [&length[..], &checksum(&[&length, bytes]), bytes].concat();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&record)?;
        self.written.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Whether records wait for [`Self::sync`].
    pub(crate) fn is_dirty(&self) -> bool {
        self.synced.load(Ordering::Acquire) < self.written.load(Ordering::Acquire)
    }

    /// Makes durable what was appended before the call. Blocks.
    ///
    /// After an error it is unknown what is durable, and a later success would prove nothing:
    /// the caller must not go on with this file.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let written = self.written.load(Ordering::Acquire);
        if self.synced.load(Ordering::Acquire) < written {
            self.sync_handle.sync_data()?;
            self.synced.fetch_max(written, Ordering::Release);
        }
        Ok(())
    }
}

/// Sets a damaged file aside for whoever wants to look at it.
pub(crate) fn set_aside(dir: &Path, session: u64) -> io::Result<()> {
    let path = path(dir, session);
    fs::rename(&path, path.with_extension("damaged"))?;
    sync_dir(dir)
}

/// The sessions that have a file, in ascending order. Creates the folder if there is none.
pub(crate) fn sessions(dir: &Path) -> io::Result<Vec<u64>> {
    fs::create_dir_all(dir)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let index: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix("session-")?.strip_suffix(".units")?.parse().ok());
        found.extend(index);
    }
    found.sort_unstable();
    Ok(found)
}

/// Deletes the files of all sessions before `next`, if nobody else has. Not synced: to be deleted is
/// not urgent.
pub(crate) fn delete_before(dir: &Path, next: u64) -> io::Result<()> {
    for session in sessions(dir)?.into_iter().filter(|session| *session < next) {
        match fs::remove_file(path(dir, session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Where the file of a session is.
pub(crate) fn path(dir: &Path, session: u64) -> PathBuf {
    dir.join(format!("session-{session}.units"))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(crate) fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::hash(&parts.concat());
    *hash.first_chunk().expect("SHA-256 has 32 bytes")
}

pub(crate) fn header(session: u64, silence: Silence) -> Vec<u8> {
    let mut header = [&MAGIC[..], &[VERSION, silence as u8], &session.to_be_bytes()].concat();
    header.extend_from_slice(&checksum(&[&header]));
    header
}

pub(crate) fn scan(bytes: &[u8], session: u64) -> Content {
    let mut content = Content::default();
    let known = [Silence::None, Silence::Missing, Silence::Damaged];
    let silence = known.into_iter().find(|silence| {
        bytes.get(..HEADER_BYTES).is_some_and(|found| found == header(session, *silence))
    });
    let Some(silence) = silence else {
        content.damaged = true;
        return content;
    };
    content.silence = silence;
    let mut at = HEADER_BYTES;
    while let Some(record) = record_at(bytes, at) {
        content.records.push(record.to_vec());
        at += RECORD_HEAD_BYTES + record.len();
    }
    content.intact_bytes = at as u64;
    content.damaged = intact_record_after(bytes, at);
    content
}

fn record_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (found, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
    let size = u32::from_be_bytes(*length) as usize;
    if size == 0 || size > RECORD_LIMIT_BYTES {
        return None;
    }
    let record = rest.get(..size)?;
    (checksum(&[length, record]) == *found).then_some(record)
}

/// Whether an intact record lies anywhere after a bad one that begins at `bad`.
///
/// The damage may have hit a length, so every offset is tried; most are dismissed by the length
/// they would have, and what is hashed in vain is bounded.
fn intact_record_after(bytes: &[u8], bad: usize) -> bool {
    /// Hashing 1 GiB takes seconds, which a restart with a damaged file may.
    const HASHED_LIMIT_BYTES: usize = 1 << 30;
    let mut hashed = 0;
    for at in bad.saturating_add(1)..bytes.len() {
        let Some(length) = bytes[at..].first_chunk::<4>() else { return false };
        let size = u32::from_be_bytes(*length) as usize;
        if size == 0 || size > RECORD_LIMIT_BYTES || at + RECORD_HEAD_BYTES + size > bytes.len() {
            continue;
        }
        if record_at(bytes, at).is_some() {
            return true;
        }
        hashed += size;
        if hashed > HASHED_LIMIT_BYTES {
            // Not a tear by any crash that this format expects.
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(records: &[&[u8]]) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let file = UnitFile::create(dir.path(), 7, Silence::None).unwrap();
        for record in records {
            file.append(record).unwrap();
        }
        assert_eq!(file.is_dirty(), !records.is_empty());
        file.sync().unwrap();
        assert!(!file.is_dirty());
        let bytes = fs::read(path(dir.path(), 7)).unwrap();
        (dir, bytes)
    }

    fn reopened(dir: &Path) -> (Content, Option<UnitFile>) {
        UnitFile::open(dir, 7).unwrap().unwrap()
    }

    #[test]
    fn records_come_back_and_more_are_appended_after_them() {
        let (dir, _) = written(&[b"one", b"two"]);
        let (content, file) = reopened(dir.path());
        assert_eq!(content.records, [b"one", b"two"]);
        assert!(content.silence == Silence::None && !content.damaged);
        file.unwrap().append(b"three").unwrap();
        let records: Vec<&[u8]> = vec![b"one", b"two", b"three"];
        assert_eq!(reopened(dir.path()).0.records, records);
        assert!(UnitFile::open(dir.path(), 8).unwrap().is_none());
    }

    #[test]
    fn torn_record_with_an_intact_one_inside_silences_and_costs_nothing_else() {
        let (_dir, inner) = written(&[b"inner"]);
        let unit = [&b"a peer's bytes"[..], &inner[HEADER_BYTES..], b"more of them"].concat();
        let (dir, bytes) = written(&[b"one", &unit]);
        assert_eq!(reopened(dir.path()).0.records.len(), 2, "whole, it is a record like any other");
        fs::write(path(dir.path(), 7), &bytes[..bytes.len() - 1]).unwrap();
        let (content, file) = reopened(dir.path());
        assert!(content.damaged && file.is_none());
        assert_eq!(content.records, [b"one"]);
    }

    #[test]
    fn crash_at_any_byte_of_the_last_record_keeps_the_ones_before() {
        let (dir, bytes) = written(&[b"one", b"the last record"]);
        let second = HEADER_BYTES + RECORD_HEAD_BYTES + 3;
        for length in second..bytes.len() {
            for filling in [vec![], vec![0; bytes.len() - length]] {
                let torn = [&bytes[..length], &filling].concat();
                fs::write(path(dir.path(), 7), &torn).unwrap();
                let (content, file) = reopened(dir.path());
                assert_eq!(content.records, [b"one"], "cut at {length}");
                file.unwrap().append(b"two").unwrap();
                assert_eq!(reopened(dir.path()).0.records, [b"one", b"two"]);
            }
        }
    }

    #[test]
    fn any_bad_byte_before_the_last_record_is_damage() {
        let (dir, bytes) = written(&[b"one", b"two", b"three"]);
        let third = bytes.len() - RECORD_HEAD_BYTES - 5;
        for at in 0..third {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            fs::write(path(dir.path(), 7), &bad).unwrap();
            let (content, file) = reopened(dir.path());
            assert!(content.damaged && file.is_none(), "byte {at}");
        }
    }

    #[test]
    fn file_of_another_session_is_damage() {
        let (dir, bytes) = written(&[b"one"]);
        fs::write(path(dir.path(), 9), bytes).unwrap();
        assert!(UnitFile::open(dir.path(), 9).unwrap().unwrap().0.damaged);
    }

    #[test]
    fn silence_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        UnitFile::create(dir.path(), 7, Silence::Missing).unwrap().append(b"one").unwrap();
        let (content, _) = reopened(dir.path());
        assert_eq!(content.silence, Silence::Missing);
        assert_eq!(content.records, [b"one"]);
    }

    #[test]
    fn old_sessions_are_deleted_and_others_found() {
        let dir = tempfile::tempdir().unwrap();
        for session in [3, 12, 4] {
            UnitFile::create(dir.path(), session, Silence::None).unwrap();
        }
        fs::write(dir.path().join("session-x.units"), b"").unwrap();
        delete_before(dir.path(), 4).unwrap();
        assert_eq!(sessions(dir.path()).unwrap(), [4, 12]);
    }
}
