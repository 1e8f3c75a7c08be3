//! What every backend must do. Each claim runs over each backend.

#![allow(clippy::unwrap_used)]

mod random;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use moneta_store::testing::CrashProne;
use moneta_store::{
    Batch, Entry, KeyRange, Memory, Order, Read, ScopedRead, ScopedWrite, Store, StoreError, Table,
    Write, WriteSet,
};
use random::Random;

/// A store and what must outlive it.
struct Ground {
    store: Store,
    _folder: Option<tempfile::TempDir>,
}

fn memory() -> Ground {
    Ground { store: Memory::store(), _folder: None }
}

fn crash_prone() -> Ground {
    Ground { store: CrashProne::new().start(), _folder: None }
}

#[cfg(feature = "disk")]
fn disk() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let store = moneta_store::Disk::create(folder.path().join("store")).unwrap().into_store();
    Ground { store, _folder: Some(folder) }
}

/// Its log is written into its tree after every few commits.
#[cfg(feature = "disk")]
fn busy_disk() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = moneta_store::testing::disk_with_short_log(path, 4 << 12).unwrap().into_store();
    Ground { store, _folder: Some(folder) }
}

macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        mod on_memory { $(#[test] fn $claim() { super::$claim(&super::memory().store); })* }
        mod on_crash_prone { $(#[test] fn $claim() { super::$claim(&super::crash_prone().store); })* }
        #[cfg(feature = "disk")]
        mod on_disk { $(#[test] fn $claim() { super::$claim(&super::disk().store); })* }
        #[cfg(feature = "disk")]
        mod on_busy_disk { $(#[test] fn $claim() { super::$claim(&super::busy_disk().store); })* }
    };
}

claims![
    committed_values_are_read_back,
    empty_keys_and_values_are_kept,
    later_write_in_a_batch_wins,
    snapshot_never_changes,
    reader_in_another_thread_sees_whole_batches,
    scans_are_ordered_both_ways,
    prefix_scan_stops_at_its_end_even_at_0xff,
    empty_and_inverted_ranges_have_no_entries,
    scopes_do_not_see_each_other,
    scoped_snapshot_shows_its_keys_without_prefix,
    update_writes_nothing_when_it_fails,
    updates_of_several_threads_lose_nothing,
    panicking_writer_leaves_a_working_store,
    tables_order_rows_by_number,
    table_range_takes_every_kind_of_bound,
    undecodable_row_is_named,
    nested_write_sets_equal_direct_writes,
];

fn put(store: &Store, rows: &[(&[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(*key, *value);
    }
    store.commit(batch).unwrap();
}

fn all(view: &dyn Read, range: KeyRange, order: Order) -> Vec<Entry> {
    view.scan(range, order).collect::<Result<_, _>>().unwrap()
}

fn keys(view: &dyn Read, range: KeyRange, order: Order) -> Vec<Vec<u8>> {
    all(view, range, order).into_iter().map(|(key, _)| key).collect()
}

fn committed_values_are_read_back(store: &Store) {
    put(store, &[(b"a", b"1"), (b"b", b"2")]);
    let mut batch = Batch::new();
    batch.put(*b"a", *b"3");
    batch.delete(*b"b");
    batch.delete(*b"never there");
    store.commit(batch).unwrap();
    let view = store.snapshot();
    assert_eq!(view.get(b"a").unwrap(), Some(b"3".to_vec()));
    assert_eq!(view.get(b"b").unwrap(), None);
    assert_eq!(view.get(b"").unwrap(), None);
}

fn empty_keys_and_values_are_kept(store: &Store) {
    put(store, &[(b"", b"at the start"), (b"k", b"")]);
    let view = store.snapshot();
    assert_eq!(view.get(b"").unwrap(), Some(b"at the start".to_vec()));
    assert_eq!(view.get(b"k").unwrap(), Some(Vec::new()));
    assert_eq!(keys(&view, KeyRange::all(), Order::Ascending), [b"".to_vec(), b"k".to_vec()]);
}

fn later_write_in_a_batch_wins(store: &Store) {
    let mut batch = Batch::new();
    batch.put(*b"a", *b"1");
    batch.delete(*b"a");
    batch.delete(*b"b");
    batch.put(*b"b", *b"2");
    store.commit(batch).unwrap();
    assert_eq!(keys(&store.snapshot(), KeyRange::all(), Order::Ascending), [b"b".to_vec()]);
}

fn snapshot_never_changes(store: &Store) {
    put(store, &[(b"a", b"1"), (b"b", b"1")]);
    let before = store.snapshot();
    let copy = before.clone();
    let mut scan = before.scan(KeyRange::all(), Order::Ascending);
    assert_eq!(scan.next().unwrap().unwrap().0, b"a");
    for round in 0..50_u8 {
        put(store, &[(b"a", &[round]), (b"b", &[round]), (b"c", &[round])]);
    }
    assert_eq!(scan.next().unwrap().unwrap(), (b"b".to_vec(), b"1".to_vec()));
    assert!(scan.next().is_none());
    drop(scan);
    drop(before);
    assert_eq!(copy.get(b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(copy.get(b"c").unwrap(), None);
    assert_eq!(store.snapshot().get(b"a").unwrap(), Some(vec![49]));
}

fn reader_in_another_thread_sees_whole_batches(store: &Store) {
    put(store, &[(b"a", &[0]), (b"b", &[0])]);
    let reading = store.clone();
    let (done, is_done) = mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let mut last = 0;
        while is_done.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let view = reading.snapshot();
            let a = view.get(b"a").unwrap().unwrap()[0];
            assert_eq!(view.get(b"b").unwrap().unwrap()[0], a);
            assert!(a >= last, "a later snapshot is not older");
            last = a;
        }
    });
    for round in 1..100 {
        put(store, &[(b"a", &[round]), (b"b", &[round])]);
    }
    done.send(()).unwrap();
    reader.join().unwrap();
}

fn scans_are_ordered_both_ways(store: &Store) {
    let sorted: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"b"];
    for key in sorted.iter().rev() {
        put(store, &[(key, key)]);
    }
    let view = store.snapshot();
    let mut expected: Vec<_> = sorted.map(|key| (key.to_vec(), key.to_vec())).into();
    assert_eq!(all(&view, KeyRange::all(), Order::Ascending), expected);
    expected.reverse();
    assert_eq!(all(&view, KeyRange::all(), Order::Descending), expected);
    let middle = KeyRange::between(*b"a", *b"b");
    assert_eq!(
        keys(&view, middle, Order::Descending),
        [b"a\xff".to_vec(), b"a\0".into(), b"a".into()]
    );
    assert_eq!(keys(&view, KeyRange::starting_at(*b"a\x01"), Order::Ascending).len(), 2);
}

fn prefix_scan_stops_at_its_end_even_at_0xff(store: &Store) {
    let rows: [&[u8]; 8] =
        [&[1], &[1, 0xfe], &[1, 0xff], &[1, 0xff, 0], &[1, 0xff, 0xff], &[2], &[0xff], &[0xff, 3]];
    for key in rows {
        put(store, &[(key, b"")]);
    }
    let view = store.snapshot();
    for order in [Order::Ascending, Order::Descending] {
        let count = |prefix: &[u8]| keys(&view, KeyRange::prefix(prefix), order).len();
        assert_eq!(count(&[]), 8);
        assert_eq!(count(&[1]), 5);
        assert_eq!(count(&[1, 0xff]), 3);
        assert_eq!(count(&[1, 0xff, 0xff]), 1);
        assert_eq!(count(&[0xff]), 2);
        assert_eq!(count(&[0xff, 0xff]), 0);
    }
}

fn empty_and_inverted_ranges_have_no_entries(store: &Store) {
    put(store, &[(b"a", b""), (b"b", b""), (b"c", b"")]);
    let mut writes = Batch::new();
    writes.put(*b"bb", *b"");
    let view = store.snapshot();
    let written = WriteSet::resume(&view, writes);
    for view in [&view as &dyn Read, &written] {
        for order in [Order::Ascending, Order::Descending] {
            assert!(all(view, KeyRange::between(*b"b", *b"b"), order).is_empty());
            assert!(all(view, KeyRange::between(*b"c", *b"a"), order).is_empty());
            assert!(all(view, KeyRange::between(*b"x", *b"z"), order).is_empty());
        }
    }
}

fn scopes_do_not_see_each_other(store: &Store) {
    let view = store.snapshot();
    let mut writes = WriteSet::new(&view);
    for scope in [1, 2, 0xff] {
        let mut module = ScopedWrite::new(&mut writes, [scope]);
        module.put(vec![0xff], vec![scope]);
        module.put(vec![], vec![scope]);
        let mut inner = ScopedWrite::new(&mut module, [7]);
        inner.put(vec![9], vec![scope]);
        inner.delete(&[0xff]);
    }
    store.commit(writes.into_batch()).unwrap();
    let view = store.snapshot();
    for scope in [1, 2, 0xff] {
        let module = ScopedRead::new(&view, [scope]);
        let expected: Vec<Entry> =
            [vec![], vec![7, 9], vec![0xff]].map(|key| (key, vec![scope])).into();
        assert_eq!(all(&module, KeyRange::all(), Order::Ascending), expected);
        assert_eq!(module.get(&[7, 9]).unwrap(), Some(vec![scope]));
        let inner = ScopedRead::new(&module, [7]);
        assert_eq!(keys(&inner, KeyRange::all(), Order::Descending), [[9]]);
    }
    assert_eq!(all(&view, KeyRange::all(), Order::Ascending).len(), 9);
}

fn scoped_snapshot_shows_its_keys_without_prefix(store: &Store) {
    put(store, &[(&[1, 5], b"x"), (&[2, 5], b"y")]);
    let module = store.snapshot().scoped([2]);
    assert_eq!(module.get(&[5]).unwrap(), Some(b"y".to_vec()));
    assert_eq!(keys(&module.scoped([]), KeyRange::all(), Order::Ascending), [[5]]);
}

fn update_writes_nothing_when_it_fails(store: &Store) {
    let refused = store.update(|writes| {
        writes.put(b"a".to_vec(), vec![]);
        Err::<(), _>(StoreError::Stopped)
    });
    assert!(matches!(refused, Err(StoreError::Stopped)));
    assert_eq!(store.snapshot().get(b"a").unwrap(), None);
}

const COUNTER: Table<(), u64> = Table::new(0x01);

fn updates_of_several_threads_lose_nothing(store: &Store) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let counted = store.update(|writes| {
                        let count = COUNTER.get(writes, &())?.unwrap_or(0);
                        COUNTER.insert(writes, &(), &(count + 1));
                        Ok::<_, StoreError>(())
                    });
                    counted.unwrap();
                }
            });
        }
    });
    assert_eq!(COUNTER.get(&store.snapshot(), &()).unwrap(), Some(100));
}

fn panicking_writer_leaves_a_working_store(store: &Store) {
    let writer = store.clone();
    let panicked = thread::spawn(move || {
        writer.update(|writes| -> Result<(), StoreError> {
            writes.put(vec![1], vec![]);
            panic!("on purpose")
        })
    });
    assert!(panicked.join().is_err());
    put(store, &[(&[2], b"")]);
    assert_eq!(keys(&store.snapshot(), KeyRange::all(), Order::Ascending), [[2]]);
}

const LOG: Table<u64, String> = Table::new(0x02);
const BY_SESSION: Table<(u64, u64), u64> = Table::new(0x03);

fn tables_order_rows_by_number(store: &Store) {
    let numbers = [0, 1, 252, 253, 254, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    let view = store.snapshot();
    let mut writes = WriteSet::new(&view);
    assert_eq!(LOG.last(&writes).unwrap(), None);
    for number in numbers.into_iter().rev() {
        LOG.insert(&mut writes, &number, &number.to_string());
        BY_SESSION.insert(&mut writes, &(number, 1), &1);
        BY_SESSION.insert(&mut writes, &(number, 300), &2);
    }
    COUNTER.insert(&mut writes, &(), &7);
    store.commit(writes.into_batch()).unwrap();

    let view = store.snapshot();
    let read: Vec<u64> = LOG.scan(&view, Order::Ascending).map(|row| row.unwrap().0).collect();
    assert_eq!(read, numbers);
    assert_eq!(LOG.first(&view).unwrap(), Some((0, "0".to_owned())));
    assert_eq!(LOG.last(&view).unwrap(), Some((u64::MAX, u64::MAX.to_string())));
    let session: Vec<_> = BY_SESSION
        .starting_with(&view, &253_u64, Order::Descending)
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(session, [((253, 300), 2), ((253, 1), 1)]);

    let mut writes = WriteSet::new(&view);
    LOG.remove(&mut writes, &u64::MAX);
    assert!(!LOG.contains(&writes, &u64::MAX).unwrap());
    assert_eq!(LOG.last(&writes).unwrap().unwrap().0, 0x1_0000_0000);
    assert_eq!(COUNTER.get(&writes, &()).unwrap(), Some(7));
}

fn table_range_takes_every_kind_of_bound(store: &Store) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let view = store.snapshot();
    let mut writes = WriteSet::new(&view);
    for number in 250..260 {
        LOG.insert(&mut writes, &number, &String::new());
    }
    BY_SESSION.insert(&mut writes, &(1, 1), &1);
    let read = |range| -> Vec<u64> {
        let rows = LOG.range(&writes, range, Order::Ascending);
        rows.map(|row| row.unwrap().0).collect()
    };
    assert_eq!(read((Included(252), Included(254))), [252, 253, 254]);
    assert_eq!(read((Excluded(252), Excluded(254))), [253]);
    assert_eq!(read((Unbounded, Excluded(252))), [250, 251]);
    assert_eq!(read((Excluded(257), Unbounded)), [258, 259]);
    assert!(read((Included(258), Included(251))).is_empty());
}

fn undecodable_row_is_named(store: &Store) {
    put(store, &[(&[0x02, 5], &[3, b'a']), (&[0x02, 6], &[1, b'a'])]);
    let view = store.snapshot();
    let error = LOG.get(&view, &5).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { table: 0x02, ref key, .. } if *key == [2, 5]));
    let mut rows = LOG.scan(&view, Order::Ascending);
    assert!(matches!(rows.next(), Some(Err(StoreError::Corrupt { .. }))));
    assert!(rows.next().is_none(), "nothing is shown behind an unreadable row");
}

/// Random writes, in random nesting with random refusals, give what direct writes of the accepted
/// ones give: in every read on the way and after the commit.
fn nested_write_sets_equal_direct_writes(store: &Store) {
    for seed in 0..20 {
        let mut random = Random(seed);
        let before = store.snapshot();
        let mut model: BTreeMap<_, _> =
            all(&before, KeyRange::all(), Order::Ascending).into_iter().collect();
        let mut writes = WriteSet::new(&before);
        write_randomly(&mut writes, &mut model, &mut random, 3);
        let written: Vec<_> = writes.written_keys().map(<[u8]>::to_vec).collect();
        assert!(written.is_sorted());
        store.commit(writes.into_batch()).unwrap();
        check_against(&store.snapshot(), &model, &mut random);
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn write_randomly(writes: &mut WriteSet<'_>, model: &mut Model, random: &mut Random, depth: u8) {
    for _ in 0..random.below(12) {
        let key = random.key();
        match random.below(4) {
            0 if depth > 0 => {
                let mut tried = model.clone();
                let mut child = writes.child();
                write_randomly(&mut child, &mut tried, random, depth - 1);
                let accepted = child.into_batch();
                if random.below(3) > 0 {
                    writes.absorb(accepted);
                    *model = tried;
                }
            }
            1 => {
                writes.delete(&key);
                model.remove(&key);
            }
            _ => {
                let value = random.key();
                writes.put(key.clone(), value.clone());
                model.insert(key, value);
            }
        }
        check_against(writes, model, random);
    }
}

fn check_against(view: &dyn Read, model: &Model, random: &mut Random) {
    let key = random.key();
    assert_eq!(view.get(&key).unwrap().as_ref(), model.get(&key));
    let range = match random.below(4) {
        0 => KeyRange::all(),
        1 => KeyRange::prefix(random.key()),
        2 => KeyRange::starting_at(random.key()),
        _ => KeyRange::between(random.key(), random.key()),
    };
    let mut expected: Vec<Entry> =
        model.clone().into_iter().filter(|(key, _)| range.contains(key)).collect();
    assert_eq!(all(view, range.clone(), Order::Ascending), expected);
    expected.reverse();
    assert_eq!(all(view, range, Order::Descending), expected);
}
