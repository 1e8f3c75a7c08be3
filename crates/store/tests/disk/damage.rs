//! Files that are torn, altered, missing or of another store.

use std::panic;

use super::*;

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

/// A store of some hundred rows as the bytes of its files: when a process with it is killed, and when
/// it is closed. Of those killed, the tree has some rows, and the log the others.
fn store_images(file: &Path) -> (Image, Image, Rows) {
    let disk = disk_with_short_log(file, SHORT).unwrap();
    (0..60).for_each(|number| commit(&disk, number).unwrap());
    drop(disk);
    let disk = Disk::open(file).unwrap();
    (60..64).for_each(|number| commit(&disk, number).unwrap());
    let rows = contents(&disk).unwrap();
    let killed = Image::of(file);
    drop(disk);
    (killed, Image::of(file), rows)
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
    let (killed, closed, rows) = store_images(&file);
    for image in [killed, closed] {
        for (number, whole) in image.0.iter().enumerate() {
            for sixteenth in 0..16 {
                let mut torn = image.clone();
                let length = whole.len() * sixteenth / 16;
                torn.0[number].truncate(length);
                torn.write(&file);
                let what = format!("file {number} cut at {length}");
                let noticed = open_damaged(&file, &rows, &what);
                assert!(noticed || number != TREE, "{what}");
            }
        }
    }
}

#[test]
fn bit_altered_in_a_closed_store_is_noticed_or_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (_, closed, rows) = store_images(&file);
    assert_altered_bits_are_noticed(&file, &closed, &rows);
}

/// In particular the one bit that tells which of the two newest commits of the tree is the newer, which
/// nothing in the tree contradicts: the log does.
#[test]
fn bit_altered_in_a_killed_store_is_noticed_or_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (killed, _, rows) = store_images(&file);
    assert_altered_bits_are_noticed(&file, &killed, &rows);
}

fn assert_altered_bits_are_noticed(file: &Path, image: &Image, rows: &Rows) {
    let mut noticed = [0; 3];
    for (number, bytes) in image.0.iter().enumerate() {
        // Each bit of the start of the tree's header, which holds the flags, and some bits of every page
        // that is not empty.
        let flags = (0..if number == TREE { 32 } else { 0 })
            .flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let pages =
            (64..bytes.len()).step_by(509).filter(|at| bytes[*at] != 0).map(|at| (at, at % 8));
        for (at, bit) in flags.chain(pages) {
            let mut altered = image.clone();
            altered.0[number][at] ^= 1 << bit;
            altered.write(file);
            let what = format!("bit {bit} of byte {at} of file {number} altered");
            noticed[number] += usize::from(open_damaged(file, rows, &what));
        }
    }
    assert!(noticed[TREE] > 20, "{noticed:?}");
}

#[test]
fn store_without_its_log_or_with_another_one_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let (killed, closed, rows) = store_images(&file);
    let other = folder.path().join("other");
    let (foreign, _, _) = store_images(&other);
    for image in [killed, closed] {
        for number in 0..TREE {
            image.write(&file);
            let path = &Disk::files(&file)[number];
            fs::remove_file(path).unwrap();
            let error = Disk::open(&file).unwrap_err();
            assert!(error.to_string().contains("is missing, a part of its log"), "{error}");
            assert!(!path.exists(), "it is not made anew");
            fs::write(path, &foreign.0[number]).unwrap();
            let error = Disk::open(&file).unwrap_err();
            assert!(error.to_string().contains("the log of another store"), "{error}");
        }
        let mut mixed = image.clone();
        mixed.0[TREE] = foreign.0[TREE].clone();
        mixed.write(&file);
        let error = Disk::open(&file).unwrap_err();
        assert!(error.to_string().contains("the log of another store"), "{error}");
        image.write(&file);
        assert_eq!(contents(&Disk::open(&file).unwrap()).unwrap(), rows);
    }
}

/// One of the files was brought back from an earlier copy of the same store.
#[test]
fn files_of_different_times_are_damaged_or_complete() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let mut images = Vec::new();
    drop(disk_with_short_log(&file, SHORT).unwrap());
    for round in 0..6 {
        let disk = Disk::open(&file).unwrap();
        (3 * round..3 * round + 3).for_each(|number| commit(&disk, number).unwrap());
        images.push(Image::of(&file));
        drop(disk);
        images.push(Image::of(&file));
    }
    let newest = images.pop().unwrap();
    let rows = {
        newest.write(&file);
        contents(&Disk::open(&file).unwrap()).unwrap()
    };
    let mut noticed = 0;
    for old in &images {
        // With an old log and a tree that was closed, nothing is missing.
        for number in 0..3 {
            let mut mixed = newest.clone();
            mixed.0[number] = old.0[number].clone();
            mixed.write(&file);
            noticed += u64::from(open_damaged(&file, &rows, "one older file"));
        }
        let mut mixed = old.clone();
        mixed.0[TREE] = newest.0[TREE].clone();
        mixed.write(&file);
        noticed += u64::from(open_damaged(&file, &rows, "an older log"));
    }
    assert!(noticed > 10, "{noticed}");
}
