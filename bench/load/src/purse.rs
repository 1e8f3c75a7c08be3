//! The money of a load test: notes of many denominations, split by paying the federation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use moneta_mint::words::{Denomination, Fees, SpendableNote};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::federation::Federation;
use crate::notes::{Claim, Mint, Prepared, prepare};
use crate::shape::{OUTPUT, Shape, fan, parent};

/// Splits under way at once: enough to keep two cores busy, few enough for bounded memory.
const SPLITS_IN_FLIGHT: usize = 6;

/// Notes by denomination.
#[derive(Debug, Default)]
pub struct Purse {
    notes: BTreeMap<Denomination, Vec<SpendableNote>>,
}

/// Payments of one shape, ready to be sent, none depending on another.
pub struct Payments {
    /// In no order.
    pub prepared: Vec<Prepared>,
    /// What redeems the first of them, to see once that the shares are worth something.
    pub first_claim: Option<Claim>,
}

/// So many notes of `from` become notes of `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    from: Denomination,
    to: Denomination,
    splits: usize,
}

impl Purse {
    /// A purse of these notes.
    pub fn new(notes: impl IntoIterator<Item = SpendableNote>) -> Self {
        let mut purse = Self::default();
        purse.put(notes);
        purse
    }

    fn put(&mut self, notes: impl IntoIterator<Item = SpendableNote>) {
        for note in notes {
            self.notes.entry(note.denomination).or_default().push(note);
        }
    }

    /// Whether the note is here, and so not spent.
    pub fn contains(&self, note: &SpendableNote) -> bool {
        let held = self.notes.get(&note.denomination);
        held.is_some_and(|held| held.iter().any(|other| other.nonce() == note.nonce()))
    }

    fn count(&self, denomination: Denomination) -> usize {
        self.notes.get(&denomination).map_or(0, Vec::len)
    }

    fn take(&mut self, denomination: Denomination, count: usize) -> Result<Vec<SpendableNote>> {
        let held = self.notes.entry(denomination).or_default();
        ensure!(held.len() >= count, "{} notes of 2^{denomination}, not {count}", held.len());
        Ok(held.split_off(held.len() - count))
    }

    /// Makes `count` payments of a shape, splitting larger notes as needed.
    ///
    /// Errors: the money does not suffice, or a split fails.
    pub async fn payments(
        &mut self,
        federation: &Arc<Federation>,
        shape: Shape,
        count: usize,
    ) -> Result<Payments> {
        let fees = federation.mint.config.fee_consensus;
        let denomination = shape.input_denomination(fees).context("no note pays for this shape")?;
        self.stock(federation, denomination, count * shape.inputs).await?;
        let notes = self.take(denomination, count * shape.inputs)?;
        let federation = federation.clone();
        let making = move || make_payments(&federation.mint, &notes, shape);
        tokio::task::spawn_blocking(making).await.context("make payments")
    }

    /// Splits until there are `count` notes of `denomination`.
    async fn stock(
        &mut self,
        federation: &Arc<Federation>,
        denomination: Denomination,
        count: usize,
    ) -> Result<()> {
        let fees = federation.mint.config.fee_consensus;
        let levels = plan(denomination, count, fees, |held| self.count(held))?;
        for level in levels.into_iter().rev() {
            let parents = self.take(level.from, level.splits)?;
            let splits = stream::iter(parents)
                .map(|note| split(federation.clone(), note, level.to))
                .buffer_unordered(SPLITS_IN_FLIGHT);
            let made: Vec<_> = splits.try_collect().await?;
            self.put(made.into_iter().flatten());
        }
        Ok(())
    }
}

/// Which splits are needed, the last to be done first.
///
/// Each level is the smallest whose notes pay for a whole fan; where nothing so large is held, the
/// largest held notes are split into what they pay for.
///
/// Errors: the money does not suffice.
fn plan(
    denomination: Denomination,
    count: usize,
    fees: Fees,
    held: impl Fn(Denomination) -> usize,
) -> Result<Vec<Level>> {
    let largest = Denomination::all().rev().find(|denomination| held(*denomination) > 0);
    let largest = largest.context("the purse is empty")?;
    let mut levels = Vec::new();
    let (mut to, mut wanted) = (denomination, count);
    while wanted > held(to) {
        let missing = wanted - held(to);
        let whole = parent(to, fees).filter(|from| *from <= largest);
        let from = whole.unwrap_or(largest);
        let made = fan(from, to, fees);
        ensure!(made > 0, "the deposit is too small for so many notes");
        let splits = missing.div_ceil(made);
        levels.push(Level { from, to, splits });
        (to, wanted) = (from, splits);
    }
    Ok(levels)
}

/// Spends a note for as many smaller ones as it pays for.
async fn split(
    federation: Arc<Federation>,
    note: SpendableNote,
    to: Denomination,
) -> Result<Vec<SpendableNote>> {
    let work = federation.clone();
    let making = move || {
        let made = fan(note.denomination, to, work.mint.config.fee_consensus);
        let outputs = std::iter::repeat_n(to, made);
        prepare(&work.mint, &[note], outputs, &mut StdRng::from_entropy())
    };
    let (prepared, claim) = tokio::task::spawn_blocking(making).await?;
    let paid = federation.pay(0, prepared).await.context("split a note")?;
    let redeeming = move || claim.redeem(&federation.mint, &paid.shares);
    tokio::task::spawn_blocking(redeeming).await?
}

/// Signs payments on all cores.
fn make_payments(mint: &Mint, notes: &[SpendableNote], shape: Shape) -> Payments {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let groups: Vec<&[SpendableNote]> = notes.chunks_exact(shape.inputs).collect();
    let make_all = |groups: &[&[SpendableNote]]| {
        let mut rng = StdRng::from_entropy();
        let outputs = std::iter::repeat_n(OUTPUT, shape.outputs);
        let make = |inputs: &&[SpendableNote]| prepare(mint, inputs, outputs.clone(), &mut rng);
        groups.iter().map(make).collect::<Vec<_>>()
    };
    let per_worker = groups.len().div_ceil(workers).max(1);
    let made: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> =
            groups.chunks(per_worker).map(|chunk| scope.spawn(move || make_all(chunk))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().flat_map(join).collect()
    });
    let mut payments = Payments { prepared: Vec::with_capacity(made.len()), first_claim: None };
    for (prepared, claim) in made {
        payments.prepared.push(prepared);
        payments.first_claim.get_or_insert(claim);
    }
    payments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::shape::FAN;

    const FEES: Fees = Fees::DEFAULT;

    fn level(from: u8, to: u8, splits: usize) -> Level {
        Level { from: Denomination(from), to: Denomination(to), splits }
    }

    #[test]
    fn enough_notes_need_no_split() {
        let levels = plan(Denomination(10), 5, FEES, |_| 5).unwrap();
        assert!(levels.is_empty());
    }

    #[test]
    fn many_small_notes_are_split_in_levels_from_one_large_one() {
        let held = |denomination: Denomination| usize::from(denomination.0 == 27);
        let levels = plan(Denomination(10), FAN * FAN, FEES, held).unwrap();
        assert_eq!(levels, [level(19, 10, FAN), level(27, 19, 1)]);
    }

    #[test]
    fn notes_too_small_for_a_whole_fan_are_split_into_what_they_pay_for() {
        let held = |denomination: Denomination| if denomination.0 == 12 { 9 } else { 0 };
        let levels = plan(Denomination(10), 20, FEES, held).unwrap();
        assert_eq!(levels, [level(12, 10, 7)]);
    }

    #[test]
    fn too_little_money_is_told() {
        assert!(plan(Denomination(10), 1, FEES, |_| 0).is_err());
        let held = |denomination: Denomination| usize::from(denomination.0 == 12);
        assert!(plan(Denomination(10), 20, FEES, held).is_err());
    }
}
