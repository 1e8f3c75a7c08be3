//! Which notes pay, and which notes the change is.
//!
//! Pure: counts in, counts out. The wallet keeps three notes of each denomination if it can, so
//! that most amounts can be sent without asking anybody, and sweeps what it has too many of.
//!
//! Where this differs from the page: notes pulled in to fill gaps are charged their fee; a
//! transaction that brings its own money leaves the stock alone, so that foreign notes cannot sink
//! own ones; everything stays within the size of a transaction; notes that cost more than they
//! bring are never spent.
//!
//! Source: docs/protocol/mint.md, section 3.9.

use std::collections::BTreeMap;

use moneta_core::amount::Msat;
use moneta_core::transaction::MAX_TX_SIZE_BYTES;
use moneta_module::client::{Imbalance, SubmitError};

use crate::words::{Denomination, Fees};

/// How many notes of each denomination the wallet wants to hold.
const TARGET: u64 = 3;
/// With more notes than this of one denomination, those beyond the target are spent.
const CROWDED_ABOVE: u64 = 6;
/// How many notes of a denomination there are after a restock: as many as are not too many.
const RESTOCKED: u64 = CROWDED_ABOVE;
/// How many notes a restock spends at most. One is enough, unless the wallet is small.
const RESTOCK_INPUTS: u64 = 4;

/// How many outputs the greedy split of the rest takes at most, short of amounts above the largest
/// denomination: one of each denomination that wallets ask for.
const CHANGE_OUTPUTS: usize = 33;

/// Notes by denomination.
pub(super) type Counts = BTreeMap<Denomination, u64>;

/// What items cost in this federation.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) fees: Fees,
    /// What can be asked for, ascending.
    pub(super) minted: Vec<Denomination>,
    /// What an input takes in a transaction, its signature included.
    pub(super) input_bytes: usize,
    /// What an output takes.
    pub(super) output_bytes: usize,
}

/// The notes that complete a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// From the stock.
    pub(super) spend: Counts,
    /// To be issued.
    pub(super) issue: Counts,
}

impl Terms {
    /// What a note brings when it is spent; `None` if nothing.
    pub(super) fn net(&self, denomination: Denomination) -> Option<Msat> {
        let value = denomination.value()?;
        value.checked_sub(self.fees.fee(value)).filter(|net| *net > Msat::ZERO)
    }

    /// What a note costs to be issued.
    fn cost(&self, denomination: Denomination) -> Option<Msat> {
        let value = denomination.value()?;
        value.checked_add(self.fees.fee(value))
    }

    /// The least amount that buys any note.
    pub(super) fn least_cost(&self) -> Option<Msat> {
        self.minted.iter().filter_map(|denomination| self.cost(*denomination)).min()
    }

    /// The notes of an amount, largest first; `None` unless it is a sum of denominations. The
    /// caller bounds the amount.
    pub(super) fn decompose(&self, amount: Msat) -> Option<Counts> {
        let mut rest = amount;
        let mut counts = Counts::new();
        for denomination in self.minted.iter().rev() {
            let value = denomination.value()?;
            let count = rest.0 / value.0;
            if count > 0 {
                counts.insert(*denomination, count);
                rest = rest.checked_sub(value.checked_mul(count)?)?;
            }
        }
        (rest == Msat::ZERO).then_some(counts)
    }
}

/// Completes a transaction.
///
/// Errors: `Insufficient`; `TooLarge` if notes enough to pay, or the change, do not fit.
pub(super) fn complete(
    held: &Counts,
    terms: &Terms,
    imbalance: Imbalance,
) -> Result<Plan, SubmitError> {
    let Imbalance { inputs, outputs_and_fees, space_bytes } = imbalance;
    let mut selection = Selection {
        terms,
        held: held.clone(),
        plan: Plan::default(),
        surplus: i128::from(inputs.0) - i128::from(outputs_and_fees.0),
        space_bytes,
    };
    let own_money = selection.surplus < 0;
    if own_money {
        selection.fund(imbalance)?;
    }
    selection.fill_gaps(own_money);
    selection.give_change()?;
    Ok(selection.plan)
}

/// The exact notes of `amount` out of `held`: largest first, each that still fits. `None` if that
/// does not meet the amount.
pub(super) fn exact(held: &Counts, amount: Msat) -> Option<Counts> {
    let mut rest = amount;
    let mut counts = Counts::new();
    for (denomination, count) in held.iter().rev() {
        let Some(value) = denomination.value() else { continue };
        let count = (*count).min(rest.0 / value.0);
        if count > 0 {
            counts.insert(*denomination, count);
            rest = rest.checked_sub(value.checked_mul(count)?)?;
        }
    }
    (rest == Msat::ZERO).then_some(counts)
}

/// What fills the stock up for payments of `amount`: the notes it takes, several of each, out of
/// notes that it does not take. `None` if there is nothing to do, or if that left less than two more
/// such payments need until the new notes are here.
///
/// The notes issued are those beyond the target: [`complete`] tops up to that with what is left.
pub(super) fn restock(held: &Counts, terms: &Terms, amount: Msat) -> Option<Plan> {
    let used = terms.decompose(amount)?;
    let mut plan = Plan::default();
    let mut price = Msat::ZERO;
    for denomination in used.keys() {
        let held = held.get(denomination).copied().unwrap_or(0);
        let missing = RESTOCKED.saturating_sub(held);
        price = price.checked_add(terms.cost(*denomination)?.checked_mul(missing)?)?;
        let beyond = RESTOCKED.saturating_sub(held.max(TARGET));
        if beyond > 0 {
            plan.issue.insert(*denomination, beyond);
        }
    }
    if plan.issue.is_empty() {
        return None;
    }
    let spare = || held.iter().filter(|(denomination, _)| !used.contains_key(*denomination));
    let pays = |denomination: &Denomination| {
        terms.net(*denomination).filter(|net| *net >= price).is_some()
    };
    if let Some((single, _)) = spare().find(|(denomination, _)| pays(denomination)) {
        plan.spend.insert(*single, 1);
    } else {
        let mut brought = Msat::ZERO;
        let mut inputs = 0;
        for (denomination, count) in spare().rev() {
            let Some(net) = terms.net(*denomination) else { continue };
            for _ in 0..*count {
                if brought >= price || inputs == RESTOCK_INPUTS {
                    break;
                }
                brought = brought.checked_add(net)?;
                inputs += 1;
                *plan.spend.entry(*denomination).or_default() += 1;
            }
        }
        if brought < price {
            return None;
        }
    }
    let left = total(held)?.checked_sub(total(&plan.spend)?)?;
    (left >= amount.checked_mul(2)?).then_some(plan)
}

/// The sum of the face values; `None` on overflow.
pub(super) fn total(counts: &Counts) -> Option<Msat> {
    counts.iter().try_fold(Msat::ZERO, |sum, (denomination, count)| {
        let value = denomination.value().unwrap_or(Msat::ZERO);
        sum.checked_add(value.checked_mul(*count)?)
    })
}

struct Selection<'a> {
    terms: &'a Terms,
    /// What is still in stock.
    held: Counts,
    plan: Plan,
    /// Inputs minus outputs and fees.
    surplus: i128,
    space_bytes: usize,
}

impl Selection<'_> {
    fn fund(&mut self, imbalance: Imbalance) -> Result<(), SubmitError> {
        let order = funding_order(&self.held);
        for (denomination, count, _) in &order {
            for _ in 0..*count {
                if self.surplus >= 0 || !self.spend(*denomination, 0) {
                    break;
                }
            }
        }
        if self.surplus < 0 {
            self.fund_with_fewest(imbalance)?;
        }
        // What there is too much of goes as far as there is room.
        for (denomination, count, crowded) in order {
            let spent = self.plan.spend.get(&denomination).copied().unwrap_or(0);
            for _ in spent..if crowded { count } else { 0 } {
                self.spend(denomination, 0);
            }
        }
        Ok(())
    }

    /// Starts over with the largest notes first.
    fn fund_with_fewest(&mut self, imbalance: Imbalance) -> Result<(), SubmitError> {
        let spent = std::mem::take(&mut self.plan.spend);
        for (denomination, count) in spent {
            let net = self.terms.net(denomination).unwrap_or(Msat::ZERO);
            self.surplus -= i128::from(net.0) * i128::from(count);
            self.space_bytes += self.terms.input_bytes * usize::try_from(count).unwrap_or(0);
            *self.held.entry(denomination).or_default() += count;
        }
        let order: Vec<_> = self.held.iter().rev().map(|(d, count)| (*d, *count)).collect();
        let mut beyond = 0;
        let mut missing = -self.surplus;
        for (denomination, count) in order {
            let Some(net) = self.terms.net(denomination) else { continue };
            for _ in 0..count {
                if missing <= 0 {
                    return if beyond == 0 { Ok(()) } else { Err(self.too_large(beyond)) };
                }
                missing -= i128::from(net.0);
                if beyond > 0 || !self.spend(denomination, 0) {
                    beyond += self.terms.input_bytes;
                }
            }
        }
        match (missing <= 0, beyond) {
            (true, 0) => Ok(()),
            (true, beyond) => Err(self.too_large(beyond)),
            (false, _) => {
                let needed = imbalance.outputs_and_fees;
                let short = u64::try_from(missing).unwrap_or(u64::MAX);
                Err(SubmitError::Insufficient {
                    needed,
                    available: needed.saturating_sub(Msat(short)),
                })
            }
        }
    }

    /// Tops the stock up from small to large. With `pull`, larger notes are broken for it.
    fn fill_gaps(&mut self, pull: bool) {
        for denomination in self.terms.minted.clone() {
            let Some(cost) = self.terms.cost(denomination) else { continue };
            let held = |selection: &Self| {
                let issued = selection.plan.issue.get(&denomination).copied().unwrap_or(0);
                selection.held.get(&denomination).copied().unwrap_or(0) + issued
            };
            while held(self) < TARGET {
                if self.surplus < i128::from(cost.0) {
                    let worth_it = |(d, _): &(&Denomination, &u64)| {
                        self.terms.net(**d).is_some_and(|net| net > cost)
                    };
                    let largest = self.held.iter().next_back().filter(worth_it).map(|(d, _)| *d);
                    let Some(larger) = largest.filter(|_| pull) else { break };
                    if !self.spend(larger, self.terms.output_bytes) {
                        return;
                    }
                }
                if !self.issue(denomination, cost, self.change_reserve()) {
                    return;
                }
            }
        }
    }

    /// Splits the rest, largest first. What buys no note any more is given away.
    fn give_change(&mut self) -> Result<(), SubmitError> {
        for denomination in self.terms.minted.iter().rev().copied() {
            let Some(cost) = self.terms.cost(denomination) else { continue };
            while self.surplus >= i128::from(cost.0) {
                if !self.issue(denomination, cost, 0) {
                    return Err(self.too_large(self.terms.output_bytes));
                }
            }
        }
        Ok(())
    }

    /// Takes a note out of the stock; `false` if there is none worth it or no room for it, for the
    /// change, and for `extra_bytes`.
    fn spend(&mut self, denomination: Denomination, extra_bytes: usize) -> bool {
        let Some(net) = self.terms.net(denomination) else { return false };
        let Some(held) = self.held.get_mut(&denomination) else { return false };
        let bytes = self.terms.input_bytes;
        let reserve = CHANGE_OUTPUTS * self.terms.output_bytes;
        if self.space_bytes < bytes + reserve + extra_bytes {
            return false;
        }
        *held -= 1;
        if *held == 0 {
            self.held.remove(&denomination);
        }
        self.space_bytes -= bytes;
        self.surplus += i128::from(net.0);
        *self.plan.spend.entry(denomination).or_default() += 1;
        true
    }

    /// Asks for a note; `false` if there is no room for it and `reserve_bytes`.
    fn issue(&mut self, denomination: Denomination, cost: Msat, reserve_bytes: usize) -> bool {
        let bytes = self.terms.output_bytes;
        if self.space_bytes < bytes + reserve_bytes {
            return false;
        }
        self.space_bytes -= bytes;
        self.surplus -= i128::from(cost.0);
        *self.plan.issue.entry(denomination).or_default() += 1;
        true
    }

    fn change_reserve(&self) -> usize {
        CHANGE_OUTPUTS * self.terms.output_bytes
    }

    fn too_large(&self, beyond_bytes: usize) -> SubmitError {
        let size_bytes = MAX_TX_SIZE_BYTES.saturating_add(beyond_bytes);
        SubmitError::TooLarge { size_bytes, limit_bytes: MAX_TX_SIZE_BYTES }
    }
}

/// The order in which notes pay, each with how many and whether they are too many anyway: what is
/// too many, then what is beyond the target, then the rest, each from large to small.
fn funding_order(held: &Counts) -> Vec<(Denomination, u64, bool)> {
    let beyond = |count: u64| count.saturating_sub(TARGET);
    let descending = || held.iter().rev().map(|(denomination, count)| (*denomination, *count));
    let crowded = descending().filter(|(_, count)| *count > CROWDED_ABOVE);
    let extra = descending().filter(|(_, count)| *count > TARGET && *count <= CROWDED_ABOVE);
    let mut order: Vec<_> = crowded.map(|(d, count)| (d, beyond(count), true)).collect();
    order.extend(extra.map(|(d, count)| (d, beyond(count), false)));
    order.extend(descending().map(|(d, count)| (d, count.min(TARGET), false)));
    order
}

#[cfg(test)]
mod tests;
