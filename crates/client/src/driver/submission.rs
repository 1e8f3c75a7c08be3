//! The built-in machine of every transaction: submitted until its fate is known.
//!
//! ```text
//! saved -> submit to all  --t equal errors------------> rejected, final
//!   |         '--t times Ok, or no agreement--> again after a pause (2 s .. 10 min)
//!   '----> await from all --t confirmations-----------> accepted, final
//! ```
//!
//! Both run side by side. Where a machine waits for answers that prove the acceptance, such as
//! signature shares, these are left to do so in the first second, and nobody is asked for it. A
//! guardian's `Ok` never means accepted. After a crash in any state the transaction is found saved and
//! submitted again: guardians answer the same txid the same way for ever, so nothing can happen
//! twice. A crash after the fate was reached and before it was committed reaches it again.
//!
//! It is never given up: only the guardians can say what became of it, and until they do its notes
//! are spoken for. While no threshold of them takes it, guardians are asked without end (0.25 s to
//! 10 s each); while a threshold takes it and none accepts it, it is submitted again (2 s to 10
//! min). Either way the user learns of it after a minute, then with growing pauses
//! (`tx-submission-stalled`).
//!
//! Source: docs/protocol/core.md, sections 8.1 and 9.1; docs/protocol/guardian.md, section 9.

use moneta_core::api::{Method, endpoint};
use moneta_core::id::TransactionId;
use moneta_core::peers::FederationSize;
use moneta_core::text::MeHex;
use moneta_core::transaction::{SubmissionOutcome, Transaction};
use moneta_module::client::{Outcome, Strategy, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::calls::Asking;
use super::tables::{Fate, Pending};
use crate::query::{Pace, Query};

/// A transaction whose fate is open, as the driver runs it.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) pending: Pending,
    pub(crate) submit: Round,
    pub(crate) confirm: Round,
    /// How often it was submitted to the guardians in this life of the driver.
    pub(crate) attempts: u64,
    /// When it counts as stalled (again). Set at the first look.
    patience: Option<Timestamp>,
    /// How often that was told.
    told: u32,
}

/// One question that is asked again and again with pauses until it is decided.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) asking: Option<Asking>,
    /// When to ask again, while nothing is asked.
    pub(crate) again: Timestamp,
    pace: Pace,
    repeats: u32,
}

impl Submission {
    pub(crate) fn new(pending: Pending) -> Self {
        let (submit, confirm) = (Round::new(Pace::RESUBMIT), Round::new(Pace::CALLS));
        Self { pending, submit, confirm, attempts: 0, patience: None, told: 0 }
    }

    /// Whether listeners are to be told now that the fate has been open for long.
    ///
    /// The time before the first look does not count: the wallet may have been closed for a week.
    pub(crate) fn lose_patience(&mut self, now: Timestamp) -> bool {
        let is_over = self.patience.is_some_and(|end| end <= now);
        self.told = self.told.saturating_add(u32::from(is_over));
        if is_over || self.patience.is_none() {
            self.patience = Some(now.after_ms(Pace::STALLED.delay_ms(self.told)));
        }
        is_over
    }

    pub(crate) fn patience_ends(&self) -> Option<Timestamp> {
        self.patience
    }

    /// Whether listeners were told.
    pub(crate) fn is_stalled(&self) -> bool {
        self.told > 0
    }

    /// Since it was made, also in earlier lives.
    pub(crate) fn elapsed_ms(&self, now: Timestamp) -> u64 {
        now.0.saturating_sub(self.pending.created_ms)
    }
}

impl Round {
    fn new(pace: Pace) -> Self {
        Self { asking: None, again: Timestamp(0), pace, repeats: 0 }
    }

    /// Begins to ask if it is time; returns whether it does.
    pub(crate) fn begin_if_due(&mut self, now: Timestamp, ask: impl FnOnce() -> Asking) -> bool {
        let is_due = self.asking.is_none() && self.again <= now;
        if is_due {
            self.asking = Some(ask());
        }
        is_due
    }

    /// Returns what a threshold says, if the question is over; the asking is over then as well.
    pub(crate) fn outcome(&mut self, now: Timestamp) -> Option<(Asking, Outcome)> {
        let asking = self.asking.as_mut()?;
        // Nothing is judged: only equal answers count.
        let unjudged = |_: &_| Err(());
        let outcome = asking.query.outcome(now, unjudged).unwrap_or_default()?;
        Some((self.asking.take()?, outcome))
    }

    /// Has the question asked again after a pause.
    pub(crate) fn pause(&mut self, now: Timestamp) {
        self.again = now.after_ms(self.pace.delay_ms(self.repeats));
        self.repeats = self.repeats.saturating_add(1);
    }

    /// When to look again, if nothing happens before.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        match &self.asking {
            Some(asking) => asking.query.next_wakeup(),
            None => Some(self.again),
        }
    }
}

/// The call that submits.
pub(crate) fn submit_call(transaction: &Transaction, size: FederationSize) -> Asking {
    let params =
        serde_json::to_value(MeHex(transaction)).expect("a hex string in an array serializes");
    let method = Method::Core(endpoint::SUBMIT_TRANSACTION.to_owned());
    Asking::new(Query::new(Strategy::Agree, size, Pace::CALLS, 0), method, params)
}

/// The call that asks for acceptance.
pub(crate) fn confirm_call(txid: TransactionId, size: FederationSize) -> Asking {
    let params = Value::String(txid.to_string());
    let method = Method::Core(endpoint::AWAIT_TRANSACTION.to_owned());
    Asking::new(Query::new(Strategy::Agree, size, Pace::CALLS, 0), method, params)
}

/// What agreed answers to a submission mean: only an error that decodes is final. Anything else
/// leaves the fate open (core.md 3.5).
pub(crate) fn fate_of_submission(outcome: &Outcome) -> Option<Fate> {
    let Outcome::Answer(answer) = outcome else { return None };
    let MeHex(SubmissionOutcome(result)) = MeHex::deserialize(answer).ok()?;
    result.err().map(|error| Fate::Rejected { error })
}

/// What agreed answers to the question for acceptance mean.
pub(crate) fn fate_of_confirmation(outcome: &Outcome, txid: TransactionId) -> Option<Fate> {
    let confirmed = *outcome == Outcome::Answer(Value::String(txid.to_string()));
    confirmed.then_some(Fate::Accepted)
}
