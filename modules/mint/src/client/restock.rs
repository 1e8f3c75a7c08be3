//! Making notes for the next payments before they are wanted.
//!
//! A payment from stock takes no network and no time; one that lacks notes waits for a transaction that
//! makes them and fills the stock up beside. So when a hand-out leaves less than another one of the same
//! amount needs, the stock is filled up in the background: one transaction that splits a note which
//! the next payments do not need.
//!
//! Fees: where the federation takes none, whenever the stock runs low. Where it does, only in a wallet
//! that is paying again and again ([`SENDS`] within [`BUSY_MS`]): the next payment would have bought the
//! same notes, and the exact ones on top. What a wallet that falls silent after that has
//! paid too early is one restock.
//!
//! ```text
//! hand-out leaves too little -> Restock -> Bundle(Purpose::Restock) -> notes in stock
//!                                  '-- too late, or nothing to split: nothing happens
//! ```
//! One at a time: a mark in the stock stands from the hand-out until the bundle is settled, in the
//! same turns. A wallet that was closed meanwhile lets it be: whoever opens a wallet is not to find his
//! balance on its way because of a payment made an hour ago.

use moneta_core::amount::Msat;
use moneta_core::{Decode, Encode};
use moneta_module::client::{Stop, SubmitError, Timestamp};
use moneta_store::StoreError;

use super::bundle::Purpose;
use super::selection::{self, Counts};
use super::{Machine, MintClient, MintTurn, stock};
use crate::words::Fees;

/// So many payments, the present one included, within [`BUSY_MS`] make a wallet one that pays again and
/// again.
const SENDS: usize = 4;
/// See [`SENDS`].
const BUSY_MS: u64 = 60_000;
/// How long after the payment a restock may still begin. It begins at once as long as the wallet is
/// open.
const BEGINS_WITHIN_MS: u64 = 5_000;

/// A stock to be filled up for payments of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Restock {
    /// What was paid last.
    pub amount: Msat,
    /// The last moment to begin, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

impl MintClient {
    /// Notes a payment, whether from stock or not.
    pub(super) fn note_payment(&self, turn: &mut MintTurn<'_>) -> Result<(), StoreError> {
        let now_ms = turn.now().0;
        let mut times = stock::payments(&*turn.state())?;
        times.push(now_ms);
        let surplus = times.len().saturating_sub(SENDS);
        times.drain(..surplus);
        stock::set_payments(&mut *turn.state(), &times);
        Ok(())
    }

    /// Has the stock filled up if what a hand-out of `amount` left is too little for another one.
    pub(super) fn restock_if_low(
        &self,
        turn: &mut MintTurn<'_>,
        amount: Msat,
    ) -> Result<(), StoreError> {
        let held = stock::counts(&*turn.state())?;
        if serves_twice(&held, amount) || stock::is_restocking(&*turn.state())? {
            return Ok(());
        }
        let is_busy = self.is_busy(turn)?;
        let is_free = self.config.fee_consensus == Fees::NONE;
        if !(is_free || is_busy) || selection::restock(&held, &self.terms, amount).is_none() {
            return Ok(());
        }
        stock::set_restocking(&mut *turn.state(), true);
        let until_ms = turn.now().after_ms(BEGINS_WITHIN_MS).0;
        turn.spawn(&Machine::Restock(Restock { amount, until_ms }));
        Ok(())
    }

    fn is_busy(&self, turn: &mut MintTurn<'_>) -> Result<bool, StoreError> {
        let times = stock::payments(&*turn.state())?;
        let recent = |at: &&u64| Timestamp(**at).after_ms(BUSY_MS) >= turn.now();
        Ok(times.iter().filter(recent).count() >= SENDS)
    }

    pub(super) fn advance_restock(
        &self,
        turn: &mut MintTurn<'_>,
        restock: Restock,
    ) -> Result<(), Stop> {
        let held = stock::counts(&*turn.state())?;
        let plan = selection::restock(&held, &self.terms, restock.amount);
        let Some(plan) = plan.filter(|_| turn.now().0 <= restock.until_ms) else {
            stock::set_restocking(&mut *turn.state(), false);
            return Ok(());
        };
        let mut notes = Vec::new();
        for (denomination, count) in &plan.spend {
            notes.extend(stock::take(&mut *turn.state(), *denomination, *count)?);
        }
        let requests = self.request(turn, &plan.issue)?;
        let draft = self.draft(Purpose::Restock, notes, requests);
        match draft.and_then(|draft| turn.submit(draft)) {
            Ok(_) => Ok(()),
            Err(SubmitError::Store(error)) => Err(Stop::Store(error)),
            // The turn is undone, so the notes are in stock; after a pause it is too late.
            Err(error) => Err(Stop::Later(error.to_string())),
        }
    }
}

/// Whether `amount` can be handed out twice.
fn serves_twice(held: &Counts, amount: Msat) -> bool {
    let Some(first) = selection::exact(held, amount) else { return false };
    let mut left = held.clone();
    for (denomination, count) in first {
        if let Some(held) = left.get_mut(&denomination) {
            *held = held.saturating_sub(count);
        }
    }
    selection::exact(&left, amount).is_some()
}
