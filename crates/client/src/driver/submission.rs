//! The built-in machine of every transaction: submitted until its fate is known.
//!
//! ```text
//! saved -> submit to all  --t equal errors------------> rejected, final
//!   |         '--t times Ok, or no agreement--> again after a pause (2 s .. 10 min)
//!   '----> await from all --t confirmations-----------> accepted, final
//! ```
//!
//! Both run side by side. A guardian's `Ok` never means accepted. After a crash in any state the
//! transaction is found saved and submitted again: guardians answer the same txid the same way for
//! ever, so nothing can happen twice. A crash after the fate was reached and before it was committed
//! reaches it again.
//!
//! Source: docs/protocol/core.md, sections 8.1 and 9.1.

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
        Self { pending, submit: Round::new(Pace::RESUBMIT), confirm: Round::new(Pace::CALLS) }
    }
}

impl Round {
    fn new(pace: Pace) -> Self {
        Self { asking: None, again: Timestamp(0), pace, repeats: 0 }
    }

    /// Begins to ask if it is time.
    pub(crate) fn begin_if_due(&mut self, now: Timestamp, ask: impl FnOnce() -> Asking) {
        if self.asking.is_none() && self.again <= now {
            self.asking = Some(ask());
        }
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
