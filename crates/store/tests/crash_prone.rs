//! The crash-prone backend loses and keeps exactly what a disk would.

#![allow(clippy::unwrap_used)]

use moneta_store::testing::{CrashProne, Fault};
use moneta_store::{Batch, KeyRange, Order, Read, Store, StoreError};

fn commit(store: &Store, key: u8) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put([key], []);
    batch.put([key, key], []);
    store.commit(batch)
}

fn keys(view: &dyn Read) -> Vec<u8> {
    let rows = view.scan(KeyRange::all(), Order::Ascending);
    rows.map(|row| row.unwrap().0).filter(|key| key.len() == 1).map(|key| key[0]).collect()
}

#[test]
fn next_life_finds_what_was_committed() {
    let disk = CrashProne::new();
    let store = disk.start();
    commit(&store, 1).unwrap();
    disk.crash();
    assert!(!disk.is_alive());
    assert!(matches!(commit(&store, 2), Err(StoreError::Stopped)));
    let next = disk.start();
    assert!(matches!(commit(&store, 3), Err(StoreError::Stopped)), "the old life stays dead");
    commit(&next, 4).unwrap();
    assert_eq!(keys(&next.snapshot()), [1, 4]);
}

#[test]
fn fault_strikes_at_its_commit_and_once() {
    for (fault, applied, alive) in [
        (Fault::Refuse, false, true),
        (Fault::FailBefore, false, false),
        (Fault::FailAfter, true, false),
        (Fault::CrashBefore, false, false),
        (Fault::CrashAfter, true, false),
    ] {
        let disk = CrashProne::new();
        let store = disk.start();
        disk.strike(2, fault);
        commit(&store, 1).unwrap();
        let error = commit(&store, 2).unwrap_err();
        match fault {
            Fault::Refuse => assert!(matches!(error, StoreError::NotCommitted { .. })),
            Fault::FailBefore | Fault::FailAfter => {
                assert!(matches!(error, StoreError::CommitUnknown { .. }));
            }
            Fault::CrashBefore | Fault::CrashAfter => assert!(matches!(error, StoreError::Stopped)),
        }
        assert_eq!(disk.is_alive(), alive);
        assert_eq!(commit(&store, 3).is_ok(), alive);
        let store = disk.start();
        commit(&store, 4).unwrap();
        let mut expected = vec![1];
        expected.extend(applied.then_some(2));
        expected.extend(alive.then_some(3));
        expected.push(4);
        assert_eq!(keys(&store.snapshot()), expected);
        assert_eq!(disk.attempts(), 3 + u64::from(alive));
    }
}
