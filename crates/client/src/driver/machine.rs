//! A module's machine between two turns: what it waits for and what came of it.

use moneta_core::api::Method;
use moneta_core::id::TransactionId;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Call, Outcome, Stop, Strategy, Target, Timestamp, Wait};
use moneta_module::erased::AnyClient;
use moneta_store::Read;

use super::calls::Asking;
use super::tables::{FATES, Fate, StoredMachine};
use crate::query::{Pace, Query};

/// How long a machine that waited for a time lets somebody's payment go first: some round trips.
const YIELD_MS: u64 = 250;

/// A machine as the driver runs it. Everything but `stored` is rebuilt after a restart.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) stored: StoredMachine,
    pub(crate) wait: Wait,
    pub(crate) asking: Option<Asking>,
    /// When the machine waits again, after it could not take what came of its wait.
    paused_until: Option<Timestamp>,
    /// How often that happened in a row.
    repeats: u32,
    /// Since when its time has come and it lets others go first.
    yields_since: Option<Timestamp>,
    /// Whether it came from the store and was not looked at since.
    is_restored: bool,
}

impl Machine {
    /// Has the machine wait. What it asks for is begun by [`Machine::ask`].
    ///
    /// Errors: `Invariant` if the module cannot say for what.
    pub(crate) fn arm(stored: StoredMachine, module: &dyn AnyClient) -> Result<Self, Stop> {
        let wait = module.wait(&stored.state, stored.origin.as_ref())?;
        let (asking, paused_until, yields_since) = (None, None, None);
        let (repeats, is_restored) = (0, false);
        Ok(Self { stored, wait, asking, paused_until, repeats, yields_since, is_restored })
    }

    /// Marks the machine as found in the store.
    pub(crate) fn restored(self) -> Self {
        Self { is_restored: true, ..self }
    }

    /// Looks at the machine at `now`; returns whether it waits, rather than pauses.
    ///
    /// A clock that was set back while the wallet was closed lets a wait for a time last as long
    /// as it was meant to when it began, not until the old clock's time.
    pub(crate) fn look(&mut self, now: Timestamp) -> bool {
        if std::mem::take(&mut self.is_restored) {
            let set_back_ms = self.stored.saved_ms.saturating_sub(now.0);
            if let Some(until) = &mut self.wait.until {
                *until = Timestamp(until.0.saturating_sub(set_back_ms));
            }
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        self.paused_until.is_none()
    }

    /// Returns what came of the wait, if it is over.
    ///
    /// Errors: those of the module's judgement and of the store.
    pub(crate) fn outcome(
        &mut self,
        module: &dyn AnyClient,
        view: &dyn Read,
        now: Timestamp,
    ) -> Result<Option<Outcome>, Stop> {
        if let Some(wait) = self.wait.transaction {
            match FATES.get(view, &wait.txid)? {
                Some(Fate::Accepted) if wait.accepted => return Ok(Some(Outcome::Accepted)),
                Some(Fate::Rejected { error }) => return Ok(Some(Outcome::Rejected(error))),
                Some(Fate::Accepted) | None => {}
            }
        }
        let (state, origin) = (&self.stored.state, self.stored.origin.as_ref());
        if let Some(asking) = &mut self.asking {
            let judge = |answers: &_| module.judge(state, origin, answers);
            if let Some(outcome) = asking.query.outcome(now, judge)? {
                return Ok(Some(outcome));
            }
        }
        let Wait { call, transaction, until } = &self.wait;
        let due = match until {
            Some(until) => *until <= now,
            None => call.is_none() && transaction.is_none(),
        };
        Ok(due.then_some(Outcome::Due))
    }

    /// The transaction that the answers to the machine's call prove to be accepted.
    pub(crate) fn proves(&self) -> Option<TransactionId> {
        let wait = self.wait.transaction.filter(|wait| !wait.accepted)?;
        self.wait.call.as_ref().map(|_| wait.txid)
    }

    /// Returns the machine's question, which is begun if none is under way.
    ///
    /// `first` picks the guardian that is asked first where they are asked one after another.
    pub(crate) fn ask(
        &mut self,
        size: FederationSize,
        first: impl FnOnce() -> usize,
    ) -> Option<&mut Asking> {
        if let (None, Some(call)) = (&self.asking, &self.wait.call) {
            let Call { target, params, strategy } = call;
            let method = match target {
                Target::Module(name) => Method::Module(self.stored.instance, (*name).to_owned()),
                Target::Core(name) => Method::Core((*name).to_owned()),
            };
            let first = if *strategy == Strategy::JudgeOne { first() } else { 0 };
            let query = Query::new(*strategy, size, Pace::CALLS, first);
            self.asking = Some(Asking::new(query, method, params.clone()));
        }
        self.asking.as_mut()
    }

    /// Whether the machine is out for a piece of history, which one guardian after the other is asked for.
    pub(crate) fn reads_history(&self) -> bool {
        self.wait.call.as_ref().is_some_and(|call| call.strategy == Strategy::JudgeOne)
    }

    /// Until when the machine lets a payment go first, though its time has come: work that nobody waits
    /// for, such as searches, and that would hold up every step of the payment for some milliseconds.
    pub(crate) fn yields_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        let Wait { call: None, transaction: None, until: Some(_) } = &self.wait else {
            return None;
        };
        let until = self.yields_since.get_or_insert(now).after_ms(YIELD_MS);
        (now < until).then_some(until)
    }

    /// Lets the machine rest, since it cannot go on now, and returns its question, which is over.
    /// After the pause it waits for the same again: a call is then made anew, so that it is not
    /// held for ever to an answer that was of no use.
    pub(crate) fn pause(&mut self, now: Timestamp) -> Option<Asking> {
        self.paused_until = Some(now.after_ms(Pace::MACHINES.delay_ms(self.repeats)));
        self.repeats = self.repeats.saturating_add(1);
        self.asking.take()
    }

    /// When to look at the machine again, if nothing happens before.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        if self.paused_until.is_some() {
            return self.paused_until;
        }
        let calls = self.asking.as_ref().and_then(|asking| asking.query.next_wakeup());
        [self.wait.until, calls].into_iter().flatten().min()
    }
}
