//! Compares databases as the ground of the disk store, under the load of a guardian: small synced
//! commits into a large set, long scans, random lookups, and a kill in the middle of a commit.
//!
//! `cargo run --manifest-path bench/backends/Cargo.toml -- [folder] [rows] [engine]`
//! The figures behind docs/decisions/0001-store-backend.md come from here. Linux only, since it
//! reads /proc.

#![allow(clippy::unwrap_used)] // a measurement that fails should stop where it fails

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Cache of each database, where it has one of its own.
const CACHE_BYTES: usize = 128 << 20;
/// Synced commits measured, as fast as they go and then at 100 a second.
const COMMITS: u64 = 1_500;
const PACED_COMMITS: u64 = 1_000;
/// Rows of one commit while filling.
const FILL_ROWS: u64 = 10_000;
const LOOKUPS: u64 = 1_000_000;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

trait Engine {
    fn commit(&mut self, rows: &Rows);
    fn get(&self, key: &[u8]) -> Option<usize>;
    /// Lookups under one view; returns how many were found.
    fn count_found(&self, keys: &mut dyn Iterator<Item = Vec<u8>>) -> u64;
    /// The number of rows, and a mix of all their bytes.
    fn digest(&self) -> (u64, u64);
}

fn digest_of<K: AsRef<[u8]>, V: AsRef<[u8]>>(rows: impl Iterator<Item = (K, V)>) -> (u64, u64) {
    rows.fold((0, 0), |(count, digest), (key, value)| {
        let bytes = key.as_ref().iter().chain(value.as_ref());
        (count + 1, bytes.fold(digest, |digest, byte| mix(digest ^ u64::from(*byte))))
    })
}

const ENGINES: [&str; 5] = ["redb", "redb-2phase", "redb-quick", "fjall", "lmdb"];

fn open(name: &str, folder: &Path) -> Box<dyn Engine> {
    match name {
        "redb" => Box::new(Redb::open(folder, false, false)),
        "redb-2phase" => Box::new(Redb::open(folder, true, false)),
        "redb-quick" => Box::new(Redb::open(folder, true, true)),
        "fjall" => Box::new(Fjall::open(folder)),
        "lmdb" => Box::new(Lmdb::open(folder)),
        other => panic!("no engine {other}"),
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("measure") => measure(&args[2], Path::new(&args[3]), args[4].parse().unwrap()),
        Some("until-killed") => run_until_killed(&args[2], Path::new(&args[3])),
        Some("digest") => print_digest(&args[2], Path::new(&args[3])),
        Some("reopen") => reopen(&args[2], Path::new(&args[3]), &args[4], args[5].parse().unwrap()),
        folder => {
            let base = folder.map_or_else(env::temp_dir, PathBuf::from).join("moneta-backends");
            let rows = args.get(2).map_or("1000000", String::as_str);
            let only = args.get(3);
            for name in ENGINES.into_iter().filter(|name| only.is_none_or(|only| only == name)) {
                compare_one(name, &base.join(name), rows);
            }
            fs::remove_dir_all(&base).unwrap();
        }
    }
}

/// Runs each part in a process of its own, so that caches and counters start at nothing.
fn compare_one(name: &str, folder: &Path, rows: &str) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    println!("== {name}");
    let path = folder.to_str().unwrap();
    let run = |args: &[&str]| assert!(child(args).status().unwrap().success());
    run(&["measure", name, path, rows]);
    run(&["reopen", name, path, "close", "0"]);

    let mut victim = child(&["until-killed", name, path]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = lines.nth(200).unwrap();
    victim.kill().unwrap(); // SIGKILL
    if let Some(last) = lines.last() {
        acknowledged = last;
    }
    victim.wait().unwrap();
    let commits = (acknowledged.parse::<u64>().unwrap() + 1).to_string();
    run(&["reopen", name, path, "kill", &commits]);
    damage(name, folder);
}

/// Flips one bit at a time in a small closed store, and tells what a reader makes of it.
fn damage(name: &str, folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut engine = open(name, folder);
    for commit in 0..300 {
        engine.commit(&rows_from(commit * 5, 5));
    }
    drop(engine);
    let path = folder.to_str().unwrap();
    let digest = || child(&["digest", name, path]).stderr(Stdio::null()).output().unwrap();
    let expected = digest().stdout;
    let files: Vec<_> =
        files_in(folder).into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    let (target, file) =
        files.iter().max_by_key(|(bytes, _)| bytes.iter().filter(|b| **b != 0).count()).unwrap();
    let used: Vec<usize> = (0..target.len()).filter(|at| target[*at] != 0).collect();
    let (mut harmless, mut refused, mut silent) = (0, 0, 0);
    for sample in 0..100 {
        // Whatever an earlier sample made of the folder is undone.
        fs::remove_dir_all(folder).unwrap();
        for (bytes, file) in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        let mut bytes = target.clone();
        bytes[used[used.len() * sample / 100]] ^= 1 << (sample % 8);
        fs::write(file, bytes).unwrap();
        let output = digest();
        match output.status.success() {
            false => refused += 1,
            true if output.stdout == expected => harmless += 1,
            true => {
                silent += 1;
                let (found, all) = (output.stdout, &expected);
                let [found, all] = [&found, all].map(|digest| String::from_utf8_lossy(digest));
                println!("part {sample} % into the file: {} of {}", found.trim(), all.trim());
            }
        }
    }
    println!(
        "one bit flipped: {refused} % refused, {harmless} % harmless, {silent} % silently wrong"
    );
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// Verifies the store as far as it can, reads all of it, and prints a digest.
fn print_digest(name: &str, folder: &Path) {
    if name.starts_with("redb") {
        redb::Database::open(folder.join("file.redb")).unwrap().check_integrity().unwrap();
    }
    println!("{:?}", open(name, folder).digest());
}

fn child(args: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(args);
    command
}

fn measure(name: &str, folder: &Path, rows: u64) {
    let mut engine = open(name, folder);
    let start = Instant::now();
    let mut next = 0;
    while next < rows {
        engine.commit(&rows_from(next, FILL_ROWS));
        next += FILL_ROWS;
    }
    println!("fill {rows} rows: {:.1} s, {} MB", start.elapsed().as_secs_f64(), size_mb(folder));

    for (label, count, pace) in [
        ("back to back", COMMITS, Duration::ZERO),
        ("100 a second", PACED_COMMITS, Duration::from_millis(10)),
    ] {
        let written = written_bytes();
        let mut latencies = Vec::new();
        let mut payload = 0;
        for commit in 0..count {
            // 5 to 200 rows, small ones more often.
            let size = 5 + mix(next ^ 0xc0) % 14 * (mix(commit) % 15);
            let batch = rows_from(next, size);
            payload += batch.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            next += size;
            let start = Instant::now();
            engine.commit(&batch);
            latencies.push(start.elapsed());
            thread::sleep(pace.saturating_sub(start.elapsed()));
        }
        latencies.sort();
        let at = |part: f64| latencies[((count - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "commit, {label}: median {:.2} p99 {:.2} max {:.2} ms, wrote {} kB for {} kB each",
            at(0.5),
            at(0.99),
            at(1.0),
            (written_bytes() - written) / count / 1000,
            payload as u64 / count / 1000,
        );
    }

    let start = Instant::now();
    let found = engine.count_found(&mut (0..LOOKUPS).map(|nth| key_of(mix(nth) % rows)));
    assert_eq!(found, LOOKUPS);
    println!("lookup: {:.2} us", start.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64);
    let start = Instant::now();
    let (count, _) = engine.digest();
    println!("scan: {:.2} s for {count} rows", start.elapsed().as_secs_f64());
    drop(engine);
    println!("closed: {} MB", size_mb(folder));
}

/// Commits for ever, naming each commit that returned.
fn run_until_killed(name: &str, folder: &Path) {
    let mut engine = open(name, folder);
    for commit in 0_u64.. {
        engine.commit(&rows_from(KILL_START + commit * 40, 40));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{commit}").unwrap();
        out.flush().unwrap();
    }
}

/// Rows written before the kill have numbers above all others.
const KILL_START: u64 = 1 << 40;

fn reopen(name: &str, folder: &Path, after: &str, commits: u64) {
    let start = Instant::now();
    let engine = open(name, folder);
    let took = start.elapsed();
    assert!(engine.get(&key_of(0)).is_some());
    for row in 0..commits * 40 {
        assert!(engine.get(&key_of(KILL_START + row)).is_some(), "lost row {row}");
    }
    println!("open after {after}: {:.3} s, nothing lost", took.as_secs_f64());
}

fn rows_from(first: u64, count: u64) -> Rows {
    (first..first + count).map(|row| (key_of(row), value_of(row))).collect()
}

/// Two thirds are random keys as of nonces, one third numbers as of logs.
fn key_of(row: u64) -> Vec<u8> {
    let mut key = vec![(row % 3) as u8];
    if row.is_multiple_of(3) {
        key.extend(row.to_be_bytes());
    }
    fill(&mut key, 20 + (mix(row) % 41) as usize, row);
    key
}

fn value_of(row: u64) -> Vec<u8> {
    let mut value = Vec::new();
    fill(&mut value, 20 + (mix(row + 1) % 481) as usize, !row);
    value
}

fn fill(bytes: &mut Vec<u8>, length: usize, seed: u64) {
    for step in 0.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend(mix(seed.wrapping_mul(0x9e37_79b9).wrapping_add(step)).to_be_bytes());
    }
    bytes.truncate(length);
}

/// The output function of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

/// What the folder really occupies: LMDB's file is sparse.
fn size_mb(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fn blocks(path: &Path) -> u64 {
        let Ok(metadata) = path.metadata() else { return 0 };
        if metadata.is_dir() {
            return fs::read_dir(path).unwrap().map(|entry| blocks(&entry.unwrap().path())).sum();
        }
        metadata.blocks()
    }
    blocks(folder) * 512 / 1_000_000
}

struct Redb {
    database: redb::Database,
    two_phase: bool,
    quick_repair: bool,
}

const TABLE: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");

impl Redb {
    fn open(folder: &Path, two_phase: bool, quick_repair: bool) -> Self {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(folder.join("file.redb")).unwrap();
        Self { database, two_phase, quick_repair }
    }

    fn table(&self) -> redb::ReadOnlyTable<&'static [u8], &'static [u8]> {
        use redb::ReadableDatabase;
        self.database.begin_read().unwrap().open_table(TABLE).unwrap()
    }
}

impl Engine for Redb {
    fn commit(&mut self, rows: &Rows) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_two_phase_commit(self.two_phase);
        transaction.set_quick_repair(self.quick_repair);
        let mut table = transaction.open_table(TABLE).unwrap();
        for (key, value) in rows {
            table.insert(key.as_slice(), value.as_slice()).unwrap();
        }
        drop(table);
        transaction.commit().unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.table().get(key).unwrap().map(|value| value.value().len())
    }

    fn count_found(&self, keys: &mut dyn Iterator<Item = Vec<u8>>) -> u64 {
        let table = self.table();
        keys.filter(|key| table.get(key.as_slice()).unwrap().is_some()).count() as u64
    }

    fn digest(&self) -> (u64, u64) {
        let rows = self.table().range::<&[u8]>(..).unwrap().map(Result::unwrap);
        digest_of(rows.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }
}

struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Self {
        let database =
            fjall::Database::builder(folder).cache_size(CACHE_BYTES as u64).open().unwrap();
        let rows = database.keyspace("rows", fjall::KeyspaceCreateOptions::default).unwrap();
        Self { database, rows }
    }
}

impl Engine for Fjall {
    fn commit(&mut self, rows: &Rows) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncAll));
        for (key, value) in rows {
            batch.insert(&self.rows, key.as_slice(), value.as_slice());
        }
        batch.commit().unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        self.rows.get(key).unwrap().map(|value| value.len())
    }

    fn count_found(&self, keys: &mut dyn Iterator<Item = Vec<u8>>) -> u64 {
        use fjall::Readable;
        let view = self.database.snapshot();
        keys.filter(|key| view.get(&self.rows, key).unwrap().is_some()).count() as u64
    }

    fn digest(&self) -> (u64, u64) {
        digest_of(self.rows.iter().map(|row| row.into_inner().unwrap()))
    }
}

struct Lmdb {
    environment: &'static heed::Env,
    rows: heed::Database<'static, heed::types::Bytes, heed::types::Bytes>,
}

impl Lmdb {
    #[allow(unsafe_code)] // a mapped file is only sound while nobody else changes it
    fn open(folder: &Path) -> Self {
        let environment =
            unsafe { heed::EnvOpenOptions::new().map_size(16 << 30).open(folder) }.unwrap();
        let environment: &'static heed::Env = Box::leak(Box::new(environment));
        let rows = environment
            .create_databases_and_commit(environment.write_txn().unwrap(), |opener, transaction| {
                opener.create_database(transaction, None).map(heed::CommitOrAbort::<_, ()>::Commit)
            })
            .unwrap()
            .unwrap_commit();
        Self { environment, rows }
    }
}

impl Engine for Lmdb {
    fn commit(&mut self, rows: &Rows) {
        let mut transaction = self.environment.write_txn().unwrap();
        for (key, value) in rows {
            self.rows.put(&mut transaction, key, value).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn get(&self, key: &[u8]) -> Option<usize> {
        let transaction = self.environment.read_txn().unwrap();
        self.rows.get(&transaction, key).unwrap().map(<[u8]>::len)
    }

    fn count_found(&self, keys: &mut dyn Iterator<Item = Vec<u8>>) -> u64 {
        let transaction = self.environment.read_txn().unwrap();
        keys.filter(|key| self.rows.get(&transaction, key).unwrap().is_some()).count() as u64
    }

    fn digest(&self) -> (u64, u64) {
        let transaction = self.environment.read_txn().unwrap();
        digest_of(self.rows.iter(&transaction).unwrap().map(Result::unwrap))
    }
}
