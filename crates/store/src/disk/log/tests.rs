#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::disk::record::{BLOCK_BYTES, encode};

const LIMIT: u64 = 64 << 10;

fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(number.to_le_bytes(), vec![number as u8; 700 * number as usize]);
    batch.delete(*b"removed each time");
    batch
}

fn append(log: &mut Log, number: u64) {
    assert_eq!(log.last() + 1, number);
    log.append(&encode(log.id(), log.last(), &batch(number)).unwrap()).unwrap();
}

/// What a log is on disk, and what it says of itself.
struct Image {
    id: StoreId,
    contents: [Vec<u8>; 2],
    applied: u64,
    last: u64,
}

impl Image {
    fn of(log: &Log, path: &Path, applied: u64) -> Self {
        let contents = files::log_paths(path).map(|path| fs::read(path).unwrap());
        Self { id: log.id(), contents, applied, last: log.last() }
    }

    /// The last commit that is read, or `None` if the log is damaged. All commits up to it are whole.
    fn last_read(&self, contents: &[Vec<u8>; 2]) -> Option<u64> {
        match read(self.id, contents, self.applied) {
            Ok((replay, _)) => {
                for (number, found) in (self.applied + 1..).zip(&replay.batches) {
                    assert_eq!(*found, batch(number));
                }
                Some(self.applied + replay.batches.len() as u64)
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
                None
            }
        }
    }

    /// As a power cut leaves it: the marks since commit `acknowledged` are lost.
    fn with_mark(&self, acknowledged: u64) -> [Vec<u8>; 2] {
        let mut contents = self.contents.clone();
        for content in &mut contents {
            let mark = Head::read(self.id, &content[BLOCK_BYTES..]);
            if mark.is_some_and(|mark| mark.acknowledged > acknowledged) {
                let mark = Head::mark(acknowledged).to_bytes(self.id);
                content[BLOCK_BYTES..][..mark.len()].copy_from_slice(&mark);
            }
        }
        contents
    }
}

/// Eight commits in one segment.
fn one_segment(path: &Path) -> (Log, Image) {
    let mut log = Log::create(path, StoreId::random().unwrap(), LIMIT).unwrap();
    (1..=8).for_each(|number| append(&mut log, number));
    let image = Image::of(&log, path, 0);
    (log, image)
}

/// The third use of segments: commits 1 to 8 were in the first, 9 to 14 are in the second, 15 to 18 in the
/// first again, and the tree has those up to 8.
fn reused_segment(path: &Path) -> (Log, Image) {
    let (mut log, _) = one_segment(path);
    log.turn().unwrap();
    (9..=14).for_each(|number| append(&mut log, number));
    log.turn().unwrap();
    (15..=18).for_each(|number| append(&mut log, number));
    let image = Image::of(&log, path, 8);
    (log, image)
}

fn images(check: impl Fn(&Image)) {
    for make in [one_segment, reused_segment] {
        let folder = tempfile::tempdir().unwrap();
        let (_, image) = make(&folder.path().join("store"));
        check(&image);
    }
}

#[test]
fn whole_log_is_read() {
    images(|image| assert_eq!(image.last_read(&image.contents), Some(image.last)));
}

#[test]
fn any_altered_byte_is_noticed_or_does_not_matter() {
    images(|image| {
        let mut noticed = 0;
        let mut contents = image.contents.clone();
        for segment in 0..2 {
            for at in 0..contents[segment].len() {
                // Every byte of the heads, and some of the rest.
                if at % BLOCK_BYTES > 80 && at % 17 != 0 {
                    continue;
                }
                contents[segment][at] ^= 1 << (at % 8);
                let read = image.last_read(&contents);
                assert!(read.is_none_or(|last| last == image.last), "byte {at} of {segment}");
                noticed += u64::from(read.is_none());
                contents[segment][at] = image.contents[segment][at];
            }
        }
        assert!(noticed > 1000, "{noticed}");
    });
}

#[test]
fn segment_that_ends_too_early_is_noticed_or_does_not_matter() {
    images(|image| {
        for segment in 0..2 {
            for at in (BLOCK_BYTES..image.contents[segment].len()).step_by(32) {
                let mut contents = image.contents.clone();
                contents[segment].truncate(at);
                let read = image.last_read(&contents);
                assert!(read.is_none_or(|last| last == image.last), "{segment} cut at {at}");
                contents[segment].resize(image.contents[segment].len(), 0);
                let read = image.last_read(&contents);
                assert!(read.is_none_or(|last| last == image.last), "{segment} zeros from {at}");
            }
        }
    });
}

/// The end of the log as it is without its mark: a lost end is shorter by whole commits, down to the mark
/// that there still is, and anything else is damage.
#[test]
fn without_the_newest_mark_commits_before_it_are_still_vouched_for() {
    images(|image| {
        for acknowledged in image.applied..image.last {
            let contents = image.with_mark(acknowledged);
            assert_eq!(image.last_read(&contents), Some(image.last));
            for segment in 0..2 {
                for at in (BLOCK_BYTES..contents[segment].len()).step_by(256) {
                    let mut cut = contents.clone();
                    cut[segment][at..].fill(0);
                    let read = image.last_read(&cut);
                    assert!(read.is_none_or(|last| last >= acknowledged), "{segment} at {at}");
                    // One byte in the middle: only the very last record is ever given up.
                    let mut altered = contents.clone();
                    altered[segment][at] ^= 1;
                    let read = image.last_read(&altered);
                    assert!(read.is_none_or(|last| last + 1 >= image.last), "{segment} at {at}");
                }
            }
        }
    });
}

/// A crash in the middle of writing a record: any part of it may be there.
#[test]
fn record_that_was_being_written_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (mut log, mut before) = reused_segment(&path);
    append(&mut log, 19);
    let after = Image::of(&log, &path, 8);
    let active = log.active;
    // Room for it was made, and synced, before.
    before.contents[active].resize(after.contents[active].len(), 0);
    let begin = log.end as usize - 4 * BLOCK_BYTES;
    assert_eq!(before.contents[active][..begin], after.contents[active][..begin]);
    let mut seen = [0, 0];
    let mut check = |segment: Vec<u8>, what: &str| {
        let mut contents = before.contents.clone();
        contents[active] = segment;
        let read = before.last_read(&contents).expect(what);
        assert!(read == 18 || read == 19, "{what}: {read}");
        seen[read as usize - 18] += 1;
    };
    for end in (begin..log.end as usize).step_by(7) {
        let mut first = after.contents[active].clone();
        first[end..].copy_from_slice(&before.contents[active][end..]);
        check(first, &format!("written up to {end}"));
        let mut last = before.contents[active].clone();
        last[end..].copy_from_slice(&after.contents[active][end..]);
        check(last, &format!("written from {end}"));
    }
    for blocks in 0..16 {
        let mut some = before.contents[active].clone();
        for block in (0..4).filter(|block| blocks & (1 << block) != 0) {
            let at = begin + block * BLOCK_BYTES;
            some[at..at + BLOCK_BYTES]
                .copy_from_slice(&after.contents[active][at..][..BLOCK_BYTES]);
        }
        check(some, &format!("blocks {blocks:04b}"));
    }
    assert!(seen[0] > 100 && seen[1] > 0, "{seen:?}");
}

#[test]
fn number_of_a_torn_record_is_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (mut log, before) = one_segment(&path);
    let torn_at = log.end as usize;
    append(&mut log, 9);
    let id = log.id();
    let active = log.active;
    drop(log);
    // The last block of record 9 did not reach the disk, nor did the mark.
    let [first, second] = files::log_paths(&path);
    let mut content = fs::read(&first).unwrap();
    let whole = content.clone();
    content[torn_at + BLOCK_BYTES..].fill(0);
    fs::write(&first, &content).unwrap();
    fs::write(second, &before.contents[1]).unwrap();

    let (mut log, replay) = Log::open(&path, id, 0, LIMIT).unwrap();
    assert_eq!((replay.batches.len(), log.last()), (8, 8));
    assert_ne!(log.active, active, "the newest record stays");
    append(&mut log, 9);
    append(&mut log, 10);
    let mut image = Image::of(&log, &path, 8);
    assert_eq!(image.last_read(&image.contents), Some(10));
    // Even if all but its head came back.
    let behind_head = torn_at + crate::disk::record::HEAD_BYTES;
    image.contents[0][behind_head..].copy_from_slice(&whole[behind_head..]);
    assert_eq!(image.last_read(&image.contents), Some(10));
}

#[test]
fn log_that_does_not_fit_its_tree_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let (log, image) = reused_segment(&one);
    let id = log.id();
    drop(log);
    drop(one_segment(&other));
    let complaint = |applied| match Log::open(&one, id, applied, LIMIT) {
        Ok((log, replay)) => format!("{} of {}", replay.batches.len(), log.last()),
        Err(error @ StoreError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(complaint(8), "10 of 18");
    assert_eq!(complaint(14), "4 of 18");
    assert_eq!(complaint(18), "0 of 18");
    assert!(complaint(19).contains("older than its tree"));
    // Commits 1 to 8 are overwritten.
    assert!(complaint(7).contains("commit 8 is torn or missing"), "{}", complaint(7));
    assert!(complaint(0).contains("commit 1 is torn or missing"));

    for (own, foreign) in files::log_paths(&one).iter().zip(files::log_paths(&other)) {
        let saved = fs::read(own).unwrap();
        fs::remove_file(own).unwrap();
        assert!(complaint(8).contains("is missing"), "{}", complaint(8));
        fs::copy(foreign, own).unwrap();
        assert!(complaint(8).contains("the log of another store"), "{}", complaint(8));
        for bytes in [
            &saved[..40],
            b"",
            b"no log at all, but long enough to be one of ours, if one looked at its length",
        ] {
            fs::write(own, bytes).unwrap();
            assert!(complaint(8).contains("torn, or no log"), "{}", complaint(8));
        }
        fs::write(own, saved).unwrap();
    }
    assert_eq!(complaint(8), "10 of 18");
    assert_eq!(image.contents, files::log_paths(&one).map(|path| fs::read(path).unwrap()));
}

#[test]
fn segment_grows_for_a_large_record_and_shrinks_when_it_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut log = Log::create(&path, StoreId::random().unwrap(), LIMIT).unwrap();
    let length = || files::log_paths(&path).map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(length(), [64 << 10; 2]);
    let mut large = Batch::new();
    large.put(*b"large", vec![7; 5_000_000]);
    let record = encode(log.id(), 0, &large).unwrap();
    assert!(log.has_room(record.len()), "an empty segment takes any");
    log.append(&record).unwrap();
    assert!(!log.has_room(BLOCK_BYTES));
    assert!(length()[0] > 5_000_000);
    let contents = files::log_paths(&path).map(|path| fs::read(path).unwrap());
    let (replay, _) = read(log.id(), &contents, 0).unwrap();
    assert_eq!(replay.batches, [large]);
    log.turn().unwrap();
    log.turn().unwrap();
    assert_eq!(length(), [64 << 10; 2]);
}
