//! Files that are made, opened, shared and kept from others.

use super::*;

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
    let mut files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut own = Disk::files(&file);
    own.sort();
    assert_eq!(files, own, "nothing else is left");
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

/// Its tree is written when a store is closed.
#[test]
fn small_row_beside_a_large_value_is_written_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let written = || {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.map(|bytes| bytes.parse::<u64>().unwrap())
    };
    // The large one comes among rows that are there.
    for (number, length) in [(0, 1), (2, 1), (1, 1 << 20)] {
        let disk = Disk::open_or_create(&file).unwrap();
        let mut batch = Batch::new();
        batch.put(vec![number], vec![0; length]);
        disk.commit(batch).unwrap();
    }
    // Counted by Linux alone.
    let Some(mut last) = written() else { return };
    let mut most = 0;
    for number in 0..10 {
        let disk = Disk::open(&file).unwrap();
        let mut batch = Batch::new();
        batch.put(vec![0], vec![number]);
        batch.put(vec![2], vec![number]);
        disk.commit(batch).unwrap();
        drop(disk);
        let now = written().unwrap();
        most = most.max(now - last);
        last = now;
    }
    assert!(most < 1 << 18, "two bytes cost {most}");
}

#[cfg(unix)]
#[test]
fn file_is_its_owner_s_alone_in_a_folder_open_to_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    commit(&disk, 0).unwrap();
    for path in Disk::files(&file) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
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
    let file = folder.path().join("store");
    let left = ["store.new", "store.log0", "store.log0.new", "store.log1.new"];
    for stage in 1..=left.len() {
        for name in &left[..stage] {
            fs::write(folder.path().join(name), b"the first half of a file").unwrap();
        }
        assert!(matches!(Disk::open(&file), Err(StoreError::Missing { .. })));
        let disk = Disk::create(&file).unwrap();
        commit(&disk, 0).unwrap();
        assert_whole(&disk, 0);
        drop(disk);
        assert_whole(&Disk::open(&file).unwrap(), 0);
        // The log of a store that is gone does not matter to the next one.
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn store_of_another_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let former = redb::Database::create(&file).unwrap();
    let transaction = former.begin_write().unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("moneta-2");
    transaction.open_table(table).unwrap().insert(&b"key"[..], &b"value"[..]).unwrap();
    transaction.commit().unwrap();
    drop(former);
    for opened in [Disk::open(&file), Disk::open_or_create(&file)] {
        let error = opened.unwrap_err();
        assert!(matches!(error, StoreError::OtherVersion { .. }), "{error}");
    }
    assert!(!Disk::files(&file)[0].exists());
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
    if let Some(file) = file_of_child() {
        assert!(matches!(Disk::open(file), Err(StoreError::InUse { .. })));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    let output = child("basics::second_process_is_refused", &file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    commit(&disk, 1).unwrap();
}
