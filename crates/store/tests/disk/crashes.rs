//! Processes that are killed, and disks that are full.

use std::io::{BufRead, BufReader, Write as _};
use std::process::Stdio;

use super::*;

/// With a log of the usual length the tree stays as it was made; with a short one it is written all the
/// time, and most kills come in the middle of that.
#[test]
fn killed_process_loses_no_commit_that_returned() {
    const TEST: &str = "crashes::killed_process_loses_no_commit_that_returned";
    if let Some(file) = file_of_child() {
        let is_short = file.extension().is_some();
        let disk = match is_short {
            true => disk_with_short_log(file, SHORT).unwrap(),
            false => Disk::open_or_create(file).unwrap(),
        };
        for number in 0.. {
            commit(&disk, number).unwrap();
            writeln!(std::io::stdout().lock(), "\ncommitted {number}").unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let usual = [0, 7, 40].map(|kill_after| ("store", kill_after));
    let short = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55].map(|kill_after| ("store.short", kill_after));
    for (name, kill_after) in usual.into_iter().chain(short) {
        let file = folder.path().join(name);
        let acknowledged = kill_when_acknowledged(TEST, &file, kill_after);
        let disk = Disk::open(&file).unwrap();
        assert_whole(&disk, acknowledged);
        drop(disk);
        assert_whole(&Disk::open(&file).unwrap(), acknowledged);
        remove(&file);
    }
}

/// Each commit changes more rows than one transaction of the tree does.
#[test]
fn killed_process_leaves_no_commit_in_part_however_many_rows_it_has() {
    const TEST: &str = "crashes::killed_process_leaves_no_commit_in_part_however_many_rows_it_has";
    const ROWS: u16 = 2500;
    if let Some(file) = file_of_child() {
        let disk = disk_with_short_log(file, SHORT).unwrap();
        for number in 1_u64.. {
            let mut batch = Batch::new();
            (0..ROWS).for_each(|row| batch.put(row.to_be_bytes(), number.to_be_bytes()));
            disk.commit(batch).unwrap();
            writeln!(std::io::stdout().lock(), "\ncommitted {number}").unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for kill_after in 1..12 {
        let file = folder.path().join(kill_after.to_string());
        let acknowledged = kill_when_acknowledged(TEST, &file, kill_after);
        let disk = Disk::open(&file).unwrap();
        let rows = contents(&disk).unwrap();
        assert_eq!(rows.len(), usize::from(ROWS));
        let number = &rows[&vec![0, 0]];
        assert!(rows.values().all(|value| value == number), "a commit is there in part");
        let number = u64::from_be_bytes(number[..].try_into().unwrap());
        assert!(number == acknowledged || number == acknowledged + 1);
    }
}

/// Runs `test` as a child that commits to `file`, and kills it; returns the last number that it told of.
fn kill_when_acknowledged(test: &str, file: &Path, number: u64) -> u64 {
    let mut process = child(test, file).stdout(Stdio::piped()).spawn().unwrap();
    let mut acknowledged = 0;
    let mut killed = false;
    for line in BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let Some(told) = line.strip_prefix("committed ") else { continue };
        acknowledged = told.parse().unwrap_or(acknowledged);
        if acknowledged >= number && !killed {
            process.kill().unwrap();
            killed = true;
        }
    }
    process.wait().unwrap();
    assert!(killed);
    acknowledged
}

/// The last commit of the tree is older than the log, and newer than the former half of it.
#[test]
fn crash_before_and_after_the_tree_is_written_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    (0..5).for_each(|number| commit(&disk, number).unwrap());
    drop(disk);
    let disk = Disk::open(&file).unwrap();
    (5..9).for_each(|number| commit(&disk, number).unwrap());
    let killed = Image::of(&file);
    let all = contents(&disk).unwrap();
    drop(disk);
    let closed = Image::of(&file);
    assert!(killed.0[TREE] != closed.0[TREE], "closing wrote the tree");

    let mut before = closed.clone();
    before.0[TREE] = killed.0[TREE].clone();
    let mut after = killed.clone();
    after.0[TREE] = closed.0[TREE].clone();
    for image in [killed, before, after, closed] {
        image.write(&file);
        for more in 0..2 {
            let disk = Disk::open(&file).unwrap();
            assert_whole(&disk, 8);
            assert_eq!(contents(&disk).unwrap().len(), all.len() + 3 * more);
            commit(&disk, 9 + more as u64).unwrap();
        }
    }
}

/// Opening after a crash is interrupted at every stage, and again, with commits between.
#[test]
fn crash_while_a_crash_is_mended_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("store"), folder.path().join("copy"));
    drop(Disk::create(&file).unwrap());
    for number in 0..20 {
        let disk = Disk::open(&file).unwrap();
        commit(&disk, number).unwrap();
        // What lies here now is opened as it is, and its files go on being used.
        let image = Image::of(&file);
        image.write(&copy);
        assert_whole(&Disk::open(&copy).unwrap(), number);
        drop(disk);
        if number % 3 > 0 {
            image.write(&file);
        }
    }
    assert_whole(&Disk::open(&file).unwrap(), 19);
}

/// The limit on file sizes stands in for the full disk: growing or writing the file fails.
fn child_with_file_limit(test: &str, file: &Path, bytes: u64) -> String {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512);
    let test = child(test, file);
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(test.get_program())
        .args(test.get_args())
        .env(CHILD_FILE, file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn full_after(stdout: &str) -> u64 {
    let full = stdout.lines().find_map(|line| line.strip_prefix("full after "));
    full.unwrap_or_else(|| panic!("{stdout}")).parse().unwrap()
}

/// The tree cannot be written: the log would never end.
#[test]
#[cfg(unix)]
fn full_disk_stops_the_store_and_loses_nothing() {
    if let Some(file) = file_of_child() {
        let disk = disk_with_short_log(file, SHORT).unwrap();
        for number in 0.. {
            if let Err(error) = commit(&disk, number) {
                assert!(matches!(error, StoreError::NotCommitted { .. }), "{error}");
                assert!(error.to_string().contains("File too large"), "{error}");
                assert!(matches!(commit(&disk, number), Err(StoreError::Stopped)));
                println!("\nfull after {number}");
                return;
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    drop(Disk::create(&file).unwrap());
    let limit = fs::metadata(&file).unwrap().len();
    let full = full_after(&child_with_file_limit(
        "crashes::full_disk_stops_the_store_and_loses_nothing",
        &file,
        limit,
    ));
    assert!(full > 0);
    let disk = Disk::open(&file).unwrap();
    assert_whole(&disk, full - 1);
    commit(&disk, full).unwrap();
    assert_whole(&disk, full);
}

/// The log cannot grow: nothing of the commit was written, and smaller ones may still fit.
#[test]
#[cfg(unix)]
fn commit_without_space_in_the_log_is_refused_and_the_store_lives_on() {
    if let Some(file) = file_of_child() {
        let disk = Disk::open(file).unwrap();
        commit(&disk, 0).unwrap();
        let mut batch = Batch::new();
        batch.put(*b"too large", vec![7; 8 << 20]);
        let error = disk.commit(batch).unwrap_err();
        assert!(matches!(error, StoreError::NotCommitted { .. }), "{error}");
        commit(&disk, 1).unwrap();
        assert_whole(&disk, 1);
        println!("\nfull after 1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    drop(Disk::create(&file).unwrap());
    let limit = fs::metadata(&file).unwrap().len();
    full_after(&child_with_file_limit(
        "crashes::commit_without_space_in_the_log_is_refused_and_the_store_lives_on",
        &file,
        limit,
    ));
    let disk = Disk::open(&file).unwrap();
    assert_whole(&disk, 1);
    assert_eq!(contents(&disk).unwrap().len(), 6);
}
