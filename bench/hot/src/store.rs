//! Commits.

use std::hint::black_box;

use moneta_store::{Batch, Disk, Memory, Store};

/// Keys of one batch: about what four payments of five notes in and out write.
const KEYS: u64 = 100;

/// Commits batches of keys that lie far apart, as nonces do.
fn commits(store: Store) -> Box<dyn FnMut()> {
    let mut number = 0_u64;
    Box::new(move || {
        let mut batch = Batch::new();
        for _ in 0..KEYS {
            number += 1;
            // An odd factor visits every key once, in scattered order.
            let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            batch.put([&key[..], &[0; 25]].concat(), vec![1; 48]);
        }
        store.commit(black_box(batch)).expect("the store works");
    })
}

pub(crate) fn commit_to_memory() -> Box<dyn FnMut()> {
    commits(Memory::store())
}

/// A durable commit of a batch of 100 keys. Not counted by the gate: most of it is the disk.
pub fn commit_to_disk() -> Box<dyn FnMut()> {
    let folder = tempfile::tempdir().expect("a folder for the store can be made");
    let store = Disk::create(folder.path().join("db")).expect("a store can be made").into_store();
    let mut commit = commits(store);
    Box::new(move || {
        // The folder lives as long as the store.
        black_box(&folder);
        commit();
    })
}
