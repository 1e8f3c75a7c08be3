//! What only a disk can do to a store: outlive it, be shared, be full, be damaged.

#![allow(clippy::unwrap_used)]

mod basics;
mod crashes;
mod damage;
mod model;
#[path = "../random/mod.rs"]
mod random;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use moneta_store::testing::disk_with_short_log;
use moneta_store::{Backend, Batch, Disk, Entry, KeyRange, Order, Read, StoreError};

/// Tells a test that it runs as the child process of another one, and on which file.
const CHILD_FILE: &str = "MONETA_STORE_TEST_FILE";

/// Halves of a log that are full after two or three commits.
const SHORT: u64 = 5 << 12;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn child(test: &str, file: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD_FILE, file);
    command
}

/// The file of which this process is the child.
fn file_of_child() -> Option<PathBuf> {
    env::var_os(CHILD_FILE).map(PathBuf::from)
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

/// The files of a store, as a process that is killed leaves them: none may be in the middle of a
/// write.
#[derive(Clone, PartialEq)]
struct Image([Vec<u8>; 3]);

/// Where the tree is among the files.
const TREE: usize = 2;

impl Image {
    fn of(file: &Path) -> Self {
        Self(Disk::files(file).map(|path| fs::read(path).unwrap()))
    }

    fn write(&self, file: &Path) {
        for (path, bytes) in Disk::files(file).iter().zip(&self.0) {
            fs::write(path, bytes).unwrap();
        }
    }
}

fn remove(file: &Path) {
    for path in Disk::files(file) {
        fs::remove_file(path).unwrap();
    }
}
