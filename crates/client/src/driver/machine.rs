//! A module's machine between two turns: what it waits for and what came of it.

use moneta_core::api::Method;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Outcome, Stop, Target, Timestamp, Wait};
use moneta_module::erased::AnyClient;
use moneta_store::Read;
use rand::RngCore;

use super::calls::Asking;
use super::tables::{FATES, Fate, StoredMachine};
use crate::query::{Pace, Query};

/// A machine as the driver runs it. Everything but `stored` is rebuilt after a restart.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) stored: StoredMachine,
    pub(crate) wait: Wait,
    pub(crate) asking: Option<Asking>,
    /// An outcome that the machine could not take at the time, and when it is offered again.
    held: Option<(Outcome, Timestamp)>,
    /// How often it was offered in vain.
    repeats: u32,
}

impl Machine {
    /// Has the machine wait.
    ///
    /// Errors: `Invariant` if the module cannot say for what.
    pub(crate) fn arm(
        stored: StoredMachine,
        module: &dyn AnyClient,
        size: FederationSize,
        rng: &mut dyn RngCore,
    ) -> Result<Self, Stop> {
        let wait = module.wait(&stored.state, stored.origin.as_ref())?;
        let asking = wait.call.as_ref().map(|call| {
            let method = match call.target {
                Target::Module(name) => Method::Module(stored.instance, name.to_owned()),
                Target::Core(name) => Method::Core(name.to_owned()),
            };
            let first = (rng.next_u32() >> 1) as usize;
            let query = Query::new(call.strategy, size, Pace::CALLS, first);
            Asking::new(query, method, call.params.clone())
        });
        Ok(Self { stored, wait, asking, held: None, repeats: 0 })
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
        if let Some((outcome, due)) = &self.held {
            return Ok((*due <= now).then(|| outcome.clone()));
        }
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

    /// Keeps an outcome that the machine cannot take now, to be offered again after a pause.
    pub(crate) fn hold(&mut self, outcome: Outcome, now: Timestamp) {
        let due = now.after_ms(Pace::MACHINES.delay_ms(self.repeats));
        self.repeats = self.repeats.saturating_add(1);
        self.held = Some((outcome, due));
    }

    /// When to look at the machine again, if nothing happens before.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        if let Some((_, due)) = &self.held {
            return Some(*due);
        }
        let calls = self.asking.as_ref().and_then(|asking| asking.query.next_wakeup());
        [self.wait.until, calls].into_iter().flatten().min()
    }
}
