//! What only a disk can do to a store: outlive it, be shared, be full, be damaged.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, panic};

use moneta_store::{Backend, Batch, Disk, Entry, KeyRange, Order, Read, StoreError};

/// Tells a test that it runs as the child process of another one, and on which file.
const CHILD_FILE: &str = "MONETA_STORE_TEST_FILE";

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn child(test: &str, file: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD_FILE, file);
    command
}

fn rows_of(commit: u64) -> [Entry; 3] {
    [1_u8, 2, 3].map(|part| {
        let mut key = vec![part];
        key.extend(commit.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        (key, commit.to_be_bytes().repeat(30))
    })
}

fn commit(disk: &Disk, number: u64) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for (key, value) in rows_of(number) {
        batch.put(key, value);
    }
    disk.commit(batch)
}

fn contents(disk: &Disk) -> Result<Rows, StoreError> {
    disk.snapshot().scan(KeyRange::all(), Order::Ascending).collect()
}

/// Every commit up to `acknowledged` is there, and no commit is there in part.
fn assert_whole(disk: &Disk, acknowledged: u64) {
    let view = disk.snapshot();
    for number in 0..acknowledged + 2 {
        let found = rows_of(number).map(|(key, value)| view.get(&key).unwrap() == Some(value));
        assert!(found == [true; 3] || found == [false; 3], "commit {number} is torn");
        assert!(found[0] || number > acknowledged, "commit {number} is lost");
    }
}

#[test]
fn commits_are_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    for number in 0..20 {
        commit(&disk, number).unwrap();
    }
    let before = contents(&disk).unwrap();
    drop(disk);
    assert_eq!(contents(&Disk::open(&file).unwrap()).unwrap(), before);
    assert_eq!(before.len(), 60);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn values_may_grow_large_and_small_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let mut disk = Disk::create(&file).unwrap();
    let key = |number: u8| vec![number];
    let mut expected = Rows::new();
    // Around the size from which on values lie by themselves, in both directions, each row after each other.
    for lengths in [[0, 2048, 2049], [70_000, 2049, 1], [2049, 0, 3_000_000], [3, 2048, 2048]] {
        for (number, length) in (0_u8..).zip(lengths) {
            let mut batch = Batch::new();
            batch.put(key(number), vec![number; length]);
            disk.commit(batch).unwrap();
            expected.insert(key(number), vec![number; length]);
            assert_eq!(contents(&disk).unwrap(), expected);
            assert_eq!(disk.snapshot().get(&key(number)).unwrap(), Some(vec![number; length]));
        }
        drop(disk);
        disk = Disk::open(&file).unwrap();
        assert_eq!(contents(&disk).unwrap(), expected);
    }
    let mut batch = Batch::new();
    batch.put(key(1), vec![1; 5000]);
    batch.delete(key(0));
    disk.commit(batch).unwrap();
    let mut batch = Batch::new();
    batch.delete(key(1));
    disk.commit(batch).unwrap();
    expected.retain(|held, _| *held == key(2));
    assert_eq!(contents(&disk).unwrap(), expected);
}

#[test]
fn small_row_beside_a_large_value_is_written_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::create(folder.path().join("store")).unwrap();
    let written = || {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.map(|bytes| bytes.parse::<u64>().unwrap())
    };
    // The large one comes among rows that are there.
    for (number, length) in [(0, 1), (2, 1), (1, 1 << 20)] {
        let mut batch = Batch::new();
        batch.put(vec![number], vec![0; length]);
        disk.commit(batch).unwrap();
    }
    // Counted by Linux alone.
    let Some(before) = written() else { return };
    for number in 0..10 {
        let mut batch = Batch::new();
        batch.put(vec![0], vec![number]);
        batch.put(vec![2], vec![number]);
        disk.commit(batch).unwrap();
    }
    let written = written().unwrap() - before;
    assert!(written < 1 << 20, "ten bytes cost {written}");
}

#[cfg(unix)]
#[test]
fn file_is_its_owner_s_alone_in_a_folder_open_to_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("store");
    drop(Disk::create(&file).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn file_is_never_made_or_replaced_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    assert!(matches!(Disk::open(&file), Err(StoreError::Missing { .. })));
    assert!(!file.exists());
    drop(Disk::open_or_create(&file).unwrap());
    assert!(matches!(Disk::create(&file), Err(StoreError::Exists { .. })));
    drop(Disk::open_or_create(&file).unwrap());

    let nowhere = folder.path().join("no such folder").join("store");
    assert!(matches!(Disk::create(nowhere), Err(StoreError::Open { .. })));
    assert!(matches!(Disk::open(folder.path()), Err(StoreError::Open { .. })));
}

#[test]
fn creation_that_was_interrupted_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.new"), b"the first half of a store").unwrap();
    let disk = Disk::create(folder.path().join("store")).unwrap();
    commit(&disk, 0).unwrap();
    assert_whole(&disk, 0);
}

#[test]
fn store_in_use_is_refused_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    assert!(matches!(Disk::open(&file), Err(StoreError::InUse { .. })));
    let view = disk.snapshot();
    drop(disk);
    assert!(
        matches!(Disk::open(&file), Err(StoreError::InUse { .. })),
        "a snapshot still reads it"
    );
    drop(view);
    Disk::open(&file).unwrap();
}

#[test]
fn second_process_is_refused() {
    if let Some(file) = env::var_os(CHILD_FILE) {
        assert!(matches!(Disk::open(PathBuf::from(file)), Err(StoreError::InUse { .. })));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    let output = child("second_process_is_refused", &file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    commit(&disk, 1).unwrap();
}

#[test]
fn killed_process_loses_no_commit_that_returned() {
    if let Some(file) = env::var_os(CHILD_FILE) {
        let disk = Disk::open_or_create(PathBuf::from(file)).unwrap();
        for number in 0.. {
            commit(&disk, number).unwrap();
            writeln!(std::io::stdout().lock(), "\ncommitted {number}").unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    for kill_after in [0, 7, 40] {
        let _ = fs::remove_file(&file);
        let mut process = child("killed_process_loses_no_commit_that_returned", &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut killed = false;
        for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some(number) = line.strip_prefix("committed ") else { continue };
            acknowledged = number.parse().unwrap_or(acknowledged);
            if acknowledged >= kill_after && !killed {
                process.kill().unwrap();
                killed = true;
            }
        }
        process.wait().unwrap();
        assert!(killed);
        assert_whole(&Disk::open(&file).unwrap(), acknowledged);
    }
}

/// The limit on file sizes stands in for the full disk: growing or writing the file fails.
#[test]
#[cfg(unix)]
fn full_disk_stops_the_store_and_loses_nothing() {
    if let Some(file) = env::var_os(CHILD_FILE) {
        let disk = Disk::open(PathBuf::from(file)).unwrap();
        for number in 0.. {
            if let Err(error) = commit(&disk, number) {
                assert!(matches!(error, StoreError::CommitUnknown { .. }), "{error}");
                assert!(matches!(commit(&disk, number), Err(StoreError::Stopped)));
                println!("\nfull after {number}");
                return;
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    drop(Disk::create(&file).unwrap());
    let limit_blocks = fs::metadata(&file).unwrap().len() / 512;
    let script = format!("trap '' XFSZ; ulimit -f {limit_blocks}; exec \"$@\"");
    let test = child("full_disk_stops_the_store_and_loses_nothing", &file);
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(test.get_program())
        .args(test.get_args())
        .env(CHILD_FILE, &file)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let full = stdout.lines().find_map(|line| line.strip_prefix("full after "));
    let full: u64 = full.unwrap_or_else(|| panic!("{stdout}")).parse().unwrap();
    assert!(full > 0);
    let disk = Disk::open(&file).unwrap();
    assert_whole(&disk, full - 1);
    commit(&disk, full).unwrap();
    assert_whole(&disk, full);
}

#[test]
fn file_that_is_no_store_is_damaged_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    for content in [&b""[..], b"x", b"redb", &[0; 5000], &[0xff; 100_000]] {
        fs::write(&file, content).unwrap();
        let opened = Disk::open_or_create(&file);
        assert!(matches!(opened, Err(StoreError::Damaged { .. })), "{:?}", opened.err());
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

/// A store of some hundred rows as the bytes of its file: when a process with it is killed, and when
/// it is closed.
fn store_bytes(file: &Path) -> (Vec<u8>, Vec<u8>, Rows) {
    let disk = Disk::create(file).unwrap();
    for number in 0..60 {
        commit(&disk, number).unwrap();
    }
    let rows = contents(&disk).unwrap();
    let killed = fs::read(file).unwrap();
    drop(disk);
    (killed, fs::read(file).unwrap(), rows)
}

/// Opens whatever lies at `file`: it must be an error or all rows, and no panic.
fn open_damaged(file: &Path, rows: &Rows, what: &str) -> bool {
    let opened = panic::catch_unwind(|| Disk::open(file).and_then(|disk| contents(&disk)));
    match opened.unwrap_or_else(|_| panic!("{what}: panicked")) {
        Ok(found) => {
            assert!(found == *rows, "{what}: opened with {} of {} rows", found.len(), rows.len());
            false
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
            true
        }
    }
}

#[test]
fn torn_file_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (killed, closed, rows) = store_bytes(&file);
    for bytes in [killed, closed] {
        for sixteenth in 0..16 {
            let length = bytes.len() * sixteenth / 16;
            fs::write(&file, &bytes[..length]).unwrap();
            assert!(open_damaged(&file, &rows, &format!("cut at {length}")));
        }
    }
}

#[test]
fn bit_altered_in_a_closed_file_is_noticed_or_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (_, closed, rows) = store_bytes(&file);
    assert_altered_bits_are_noticed(&file, &closed, &rows, |_| false);
}

#[test]
fn bit_altered_in_a_killed_file_is_noticed_or_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (killed, _, rows) = store_bytes(&file);
    // The one bit that tells which of the two newest commits is the newer has no checksum. Until the
    // next open or close, nothing else in the file contradicts it.
    assert_altered_bits_are_noticed(&file, &killed, &rows, |place| place == (9, 0));
}

fn assert_altered_bits_are_noticed(
    file: &Path,
    bytes: &[u8],
    rows: &Rows,
    is_known_gap: impl Fn((usize, usize)) -> bool,
) {
    // Each bit of the start of the header, which holds the flags, and some bits of every page that is
    // not empty.
    let flags = (0..32).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let pages = (64..bytes.len()).step_by(509).filter(|at| bytes[*at] != 0).map(|at| (at, at % 8));
    let mut noticed = 0;
    for (at, bit) in flags.chain(pages).filter(|place| !is_known_gap(*place)) {
        let mut altered = bytes.to_vec();
        altered[at] ^= 1 << bit;
        fs::write(file, altered).unwrap();
        let what = format!("bit {bit} of byte {at} altered");
        noticed += usize::from(open_damaged(file, rows, &what));
    }
    assert!(noticed > 20, "only {noticed} were noticed");
}
