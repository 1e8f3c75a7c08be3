//! Payments over a store that holds much already: how their cost grows with state.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moneta_core::{PeerId, Transaction};
use moneta_guardian::engine::Engine;
use moneta_module::server::Facts;
use moneta_store::{Disk, ScopedWrite, Store, WriteSet};
use serde::{Deserialize, Serialize};

use crate::engine::{engine, unit_of};
use crate::federation::{INSTANCE, Mint};
use crate::fill::spent_notes;

/// Payments of one unit, which is one commit.
pub const PAYMENTS_PER_UNIT: usize = 10;

/// Units processed before those that count, for caches of the store and of the processor.
const WARM_UP_UNITS: usize = 5;

/// What payments of five notes in and five out cost over one store. Times are medians over units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Grown {
    /// Notes spent before.
    pub spent_notes: u64,
    /// Bytes on the disk of the store before.
    pub store_bytes: u64,
    /// Opening the store, every page verified.
    pub open_ms: f64,
    /// Payments that counted.
    pub payments: usize,
    /// Per payment: decoding, checking signatures, signing. Does not look at the store.
    pub prepare_us: f64,
    /// Per payment: the rules, with all look-ups.
    pub process_us: f64,
    /// Per payment: its share of a durable commit.
    pub commit_us: f64,
    /// A whole commit, nine in ten not slower. The tree of the store is written beside them.
    pub commit_p90_ms: f64,
    /// Per payment: bytes handed to the disk, until the store is closed.
    pub written_bytes: f64,
    /// Resident memory before the store was opened.
    pub memory_before_bytes: u64,
    /// Resident memory after the payments.
    pub memory_bytes: u64,
}

impl Grown {
    /// The whole of a payment.
    pub fn payment_us(&self) -> f64 {
        self.prepare_us + self.state_us()
    }

    /// The part of a payment that depends on the store.
    pub fn state_us(&self) -> f64 {
        self.process_us + self.commit_us
    }
}

/// Measures on the store at `path`, which has the payments in it afterwards: give it a copy.
///
/// One process measures one store, since memory is part of it.
/// Errors: the store fails; a payment is refused, which would be an error of this program.
pub fn measure(path: &Path, payments: usize) -> Result<Grown> {
    let units = WARM_UP_UNITS + payments.div_ceil(PAYMENTS_PER_UNIT);
    let mut mint = Mint::new();
    let engine = engine(&mint);
    let blocks = Disk::files(path).map(|file| fs::metadata(file).map(|metadata| metadata.blocks()));
    let blocks = blocks.into_iter().sum::<std::io::Result<u64>>().context("find the store")?;
    let store_bytes = blocks * 512;
    let memory_before_bytes = resident_bytes()?;
    let began = Instant::now();
    let store = Disk::open(path).context("open the store")?.into_store();
    let open = began.elapsed();
    let spent_notes = spent_notes(&store)?;

    let transactions = issue(&mut mint, &engine, &store, units * PAYMENTS_PER_UNIT)?;
    let session = engine.session_count(&store.snapshot())?;
    let mut times = Times::default();
    let mut written = 0;
    for (position, unit) in transactions.chunks(PAYMENTS_PER_UNIT).enumerate() {
        if position == WARM_UP_UNITS {
            times = Times::default();
            written = written_bytes()?;
        }
        let items = unit_of(unit);
        let began = Instant::now();
        let unit = engine.decode_unit(PeerId(0), &items).context("decode our own unit")?;
        engine.prepare(&[&unit]);
        let prepared = Instant::now();
        let snapshot = store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let done = engine
            .process_unit(&mut writes, session, position as u64, &unit, &Facts::default())
            .context("process our own unit")?;
        ensure!(done.transactions.len() == items.len(), "a payment was refused: {done:?}");
        let batch = writes.into_batch();
        let processed = Instant::now();
        store.commit(batch)?;
        times.prepare.push(prepared - began);
        times.process.push(processed - prepared);
        times.commit.push(processed.elapsed());
    }
    let memory_bytes = resident_bytes()?;
    // What is in the log only is written into the tree.
    drop(store);
    let written = written_bytes()? - written;
    let counted = (units - WARM_UP_UNITS) * PAYMENTS_PER_UNIT;
    let per_payment_us =
        |times: &mut Vec<Duration>| at(times, 0.5).as_secs_f64() * 1e6 / PAYMENTS_PER_UNIT as f64;
    Ok(Grown {
        spent_notes,
        store_bytes,
        open_ms: open.as_secs_f64() * 1e3,
        payments: counted,
        prepare_us: per_payment_us(&mut times.prepare),
        process_us: per_payment_us(&mut times.process),
        commit_us: per_payment_us(&mut times.commit),
        commit_p90_ms: at(&mut times.commit, 0.9).as_secs_f64() * 1e3,
        written_bytes: written as f64 / counted as f64,
        memory_before_bytes,
        memory_bytes,
    })
}

#[derive(Default)]
struct Times {
    prepare: Vec<Duration>,
    process: Vec<Duration>,
    commit: Vec<Duration>,
}

/// Payments of notes that are in the books of `store`.
fn issue(
    mint: &mut Mint,
    engine: &Engine,
    store: &Store,
    payments: usize,
) -> Result<Vec<Transaction>> {
    let prefix = engine.module_key(INSTANCE, &[]);
    let notes = store.update(|writes| -> Result<_, moneta_store::StoreError> {
        Ok(mint.issue(payments * 5, &mut ScopedWrite::new(writes, prefix)))
    })?;
    Ok(notes.chunks(5).map(|notes| mint.transaction(notes)).collect())
}

/// The time that so large a part of all does not exceed.
fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let index = (times.len() as f64 * part) as usize;
    times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn resident_bytes() -> Result<u64> {
    Ok(proc_value("status", "VmRSS:")? * 1024)
}

fn written_bytes() -> Result<u64> {
    proc_value("io", "write_bytes:")
}

fn proc_value(file: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/self/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("find {name} in {path}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fill::{SPENT_STEP, fill_payments};

    #[test]
    fn payments_over_a_filled_store_are_accepted_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        fill_payments(&Disk::create(&path).unwrap().into_store(), 1, |_| ()).unwrap();
        let grown = measure(&path, 10).unwrap();
        assert_eq!((grown.spent_notes, grown.payments), (SPENT_STEP, 10));
        assert!(grown.process_us > 0.0 && grown.commit_us > 0.0);
        assert!(grown.written_bytes > 0.0 || cfg!(not(target_os = "linux")));
    }

    #[test]
    fn quantile_of_few_times_is_one_of_them() {
        let mut times: Vec<_> = (1..=10).map(Duration::from_secs).collect();
        assert_eq!(at(&mut times, 0.9).as_secs(), 10);
        assert_eq!(at(&mut times, 0.5).as_secs(), 6);
        assert_eq!(at(&mut [], 0.5), Duration::ZERO);
    }
}
