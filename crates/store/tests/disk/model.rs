//! A disk store is a memory store that outlives the process.

use std::sync::mpsc;
use std::thread;

use moneta_store::{Memory, Snapshot};

use super::random::Random;
use super::*;

impl Random {
    fn range(&mut self) -> KeyRange {
        match self.below(4) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(self.key()),
            2 => KeyRange::starting_at(self.key()),
            _ => KeyRange::between(self.key(), self.key()),
        }
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..self.below(8) {
            let key = self.key();
            match self.below(5) {
                0 | 1 => batch.delete(key),
                2 => batch.put(key, vec![self.below(256) as u8; 1 + self.below(20_000) as usize]),
                _ => batch.put(key, self.key()),
            }
        }
        batch
    }
}

fn scan(view: &Snapshot, range: &KeyRange, order: Order) -> Vec<Entry> {
    view.scan(range.clone(), order).collect::<Result<_, _>>().unwrap()
}

fn assert_same(disk: &Snapshot, memory: &Snapshot, random: &mut Random) {
    let (key, range) = (random.key(), random.range());
    assert_eq!(disk.get(&key).unwrap(), memory.get(&key).unwrap());
    for order in [Order::Ascending, Order::Descending] {
        assert_eq!(scan(disk, &range, order), scan(memory, &range, order));
    }
}

/// Commits of all sizes, snapshots that are held over many of them, closing, and killing: what is killed
/// is opened from a copy of its files.
#[test]
fn random_use_gives_what_memory_gives() {
    for seed in 0..6 {
        let random = &mut Random(seed);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        let length = [SHORT, 3 * SHORT, 4 << 20][seed as usize % 3];
        let open = || disk_with_short_log(&file, length).unwrap();
        let (mut disk, memory) = (open(), Memory::new());
        let mut held: Vec<(Snapshot, Snapshot)> = Vec::new();
        for _ in 0..300 {
            match random.below(40) {
                0 => {
                    // A snapshot keeps the files in use.
                    held.clear();
                    drop(disk);
                    disk = open();
                }
                // With a short log a thread may be writing the tree.
                1 if length > 1 << 20 => {
                    held.clear();
                    let killed = Image::of(&file);
                    drop(disk);
                    killed.write(&file);
                    disk = open();
                }
                2..6 => held.push((disk.snapshot(), memory.snapshot())),
                6 if !held.is_empty() => {
                    held.swap_remove(random.below(held.len() as u64) as usize);
                }
                _ => {
                    let batch = random.batch();
                    memory.commit(batch.clone()).unwrap();
                    disk.commit(batch).unwrap();
                }
            }
            assert_same(&disk.snapshot(), &memory.snapshot(), random);
            for (disk, memory) in &held {
                assert_same(disk, memory, random);
            }
        }
    }
}

#[test]
fn readers_see_whole_commits_while_the_tree_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk_with_short_log(folder.path().join("store"), SHORT).unwrap();
    let put = |number: u64| {
        let mut batch = Batch::new();
        for key in 0..20_u8 {
            batch.put([key], number.to_be_bytes());
        }
        // A row that comes and goes.
        match number % 2 {
            0 => batch.put([99], []),
            _ => batch.delete([99]),
        }
        disk.commit(batch).unwrap();
    };
    put(0);
    thread::scope(|scope| {
        let stops: Vec<_> = (0..2)
            .map(|_| {
                let (stop, is_stopped) = mpsc::channel::<()>();
                let disk = &disk;
                scope.spawn(move || {
                    let mut last = 0;
                    while is_stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                        let view = disk.snapshot();
                        let rows = scan(&view, &KeyRange::all(), Order::Descending);
                        let number =
                            u64::from_be_bytes(rows[rows.len() - 1].1[..].try_into().unwrap());
                        assert_eq!(rows.len() as u64, 21 - number % 2);
                        let same = rows.iter().rev().take(20);
                        assert!(same.into_iter().all(|(_, value)| *value == number.to_be_bytes()));
                        assert_eq!(view.get(&[7]).unwrap().unwrap(), number.to_be_bytes());
                        assert!(number >= last, "a later snapshot is not older");
                        last = number;
                    }
                });
                stop
            })
            .collect();
        (1..300).for_each(put);
        drop(stops);
    });
}

/// A removal in the log hides the row in the tree, and a row that is put again is there once.
#[test]
fn scans_merge_log_and_tree_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let disk = Disk::create(&file).unwrap();
    let mut batch = Batch::new();
    (0..10_u8).for_each(|key| batch.put([key], *b"tree"));
    disk.commit(batch).unwrap();
    drop(disk);
    let disk = Disk::open(&file).unwrap();
    let mut batch = Batch::new();
    [0, 4, 5, 9, 77].into_iter().for_each(|key: u8| batch.delete([key]));
    [1, 8, 30].into_iter().for_each(|key: u8| batch.put([key], *b"log"));
    disk.commit(batch).unwrap();
    let mut batch = Batch::new();
    batch.put([5], *b"again");
    disk.commit(batch).unwrap();
    let expected: Vec<(u8, &[u8])> = vec![
        (1, b"log"),
        (2, b"tree"),
        (3, b"tree"),
        (5, b"again"),
        (6, b"tree"),
        (7, b"tree"),
        (8, b"log"),
        (30, b"log"),
    ];
    let mut expected: Vec<Entry> =
        expected.into_iter().map(|(key, value)| (vec![key], value.to_vec())).collect();
    let view = disk.snapshot();
    assert_eq!(scan(&view, &KeyRange::all(), Order::Ascending), expected);
    assert_eq!(scan(&view, &KeyRange::between([4], [8]), Order::Descending).len(), 3);
    expected.reverse();
    assert_eq!(scan(&view, &KeyRange::all(), Order::Descending), expected);
    drop((view, disk));
    let view = Disk::open(&file).unwrap().snapshot();
    assert_eq!(scan(&view, &KeyRange::all(), Order::Descending), expected);
}
