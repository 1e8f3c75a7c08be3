//! The operation driver: hosts the client modules of one federation, without any I/O.
//!
//! ```text
//! act(user action) --+                                  +--> poll(now) -> calls to make
//!                    v                                  |
//!              one turn, one commit -> machines, pending transactions
//!                    ^                                  |
//!      advance <- outcome of a wait <-------------------+<-- on_response(id, answer)
//! ```
//!
//! What is volatile: which calls are out, their answers so far, and pauses. What is durable: module
//! state, machines, transactions whose fate is open, fates, operations and events
//! (`driver/tables.rs`).
//!
//! Crash contract. Everything a turn decides is committed at once and before any call leaves: an action
//! when it returns, the turns of a poll in one commit before its calls are handed out
//! (`driver/stage.rs`).
//! [`Driver::open`] finds each machine as of its last committed turn and has it wait for the same
//! thing again; each transaction without a fate is submitted again under the same id. So a crash
//! before a commit undoes the turn, and a crash behind it repeats only calls, which are idempotent.
//!
//! After an error of the store drop the driver and open it again: what was committed is then seen. A
//! driver whose poll failed, or that does not know whether a commit happened, takes no more actions,
//! so that nobody does twice what happened once.
//!
//! Trouble of one machine stays its own. `Stop::Later` has it wait for the same thing again after
//! growing pauses, with calls made anew; `Stop::Invariant` parks it, visible in
//! [`crate::history::parked`] and tried once more at each open, since a newer release may know better.
//!
//! Payments go first: a machine whose time has come in the first seconds of a transaction takes its turn a
//! quarter of a second later. So searches go on beside payments and hardly slow them. Recovery goes before
//! them in the same way while it reads history.
//!
//! Time is given and should not go backwards while a driver is open: pauses would last longer then.
//! Between two lives it may: a machine's wait for a time keeps its length.

mod agenda;
mod calls;
mod machine;
mod machines;
mod modules;
mod servers;
mod stage;
mod submission;
pub(crate) mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod transactions;
mod turn;

pub use calls::{Request, RequestId};
pub use modules::{Modules, OpenModuleError, OpenedModules, open_modules};
pub use tables::MachineId;

use std::collections::BTreeMap;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::id::{ModuleInstanceId, OperationId, TransactionId};
use moneta_core::peers::FederationSize;
use moneta_module::client::{ClientModule, Stop, Timestamp, Turn};
use moneta_store::{Batch, Order, Snapshot, Store, StoreError};
use rand::RngCore;
use serde_json::Value;

use crate::history::Event;
use crate::query::CallFailure;
use agenda::{Agenda, Owner};
use calls::Calls;
use machine::Machine;
use servers::Servers;
use stage::Stage;
use submission::Submission;
use tables::{BEGUN, MACHINES, PENDING, Pending, StoredMachine, module_scope};
use turn::{Effects, Place, TurnHost};

/// How many steps one poll takes at most. A machine that never comes to rest then costs time, but
/// does not lock up the caller.
const MAX_STEPS_PER_POLL: usize = 4096;

/// Hosts the client modules of one federation. See the module text.
pub struct Driver {
    store: Store,
    size: FederationSize,
    modules: Modules,
    rng: Box<dyn RngCore + Send>,
    machines: BTreeMap<MachineId, Machine>,
    submissions: BTreeMap<TransactionId, Submission>,
    calls: Calls,
    agenda: Agenda,
    servers: Servers,
    /// Decided and not committed yet.
    stage: Stage,
    events: Vec<Event>,
    /// Set when what is in memory may not be what is in the store any more.
    is_stale: bool,
}

/// A transaction whose fate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Which transaction.
    pub txid: TransactionId,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// When it was made.
    pub created: Timestamp,
    /// How often it was submitted to the guardians since the driver was opened.
    pub attempts: u64,
    /// Whether it has been open for so long that listeners were told (`tx-submission-stalled`).
    pub is_stalled: bool,
}

/// Why an action of the user did not happen. Nothing of it was written or sent, unless the store
/// says `CommitUnknown`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError<E> {
    /// Refused: the federation has no such module, or this wallet cannot use it.
    #[error("module {0} is not in use here")]
    NoSuchModule(ModuleInstanceId),
    /// The action itself said no.
    #[error(transparent)]
    Action(E),
    /// Broken: the wallet's store failed.
    #[error("the wallet's store failed: {0}")]
    Store(#[from] StoreError),
}

/// Why a module did not begin.
#[derive(Debug, thiserror::Error)]
#[error("module {instance} did not begin: {stop}")]
pub struct BeginError {
    /// Which module.
    pub instance: ModuleInstanceId,
    /// Why.
    #[source]
    pub stop: Stop,
}

impl Driver {
    /// Opens the driver on what `store` holds, an empty store included. Machines of modules that
    /// are not in `modules` stay as they are.
    ///
    /// `rng` is the only source of randomness: seed it from the system, or in a simulation.
    pub fn open(
        store: Store,
        size: FederationSize,
        modules: Modules,
        rng: Box<dyn RngCore + Send>,
    ) -> Result<Self, StoreError> {
        let mut driver = Self {
            store,
            size,
            modules,
            rng,
            machines: BTreeMap::new(),
            submissions: BTreeMap::new(),
            calls: Calls::default(),
            agenda: Agenda::default(),
            servers: Servers::new(size),
            stage: Stage::default(),
            events: Vec::new(),
            is_stale: false,
        };
        let view = driver.store.snapshot();
        for row in MACHINES.scan(&view, Order::Ascending) {
            let (id, stored) = row?;
            driver.restore(id, stored)?;
        }
        for row in PENDING.scan(&view, Order::Ascending) {
            let (txid, pending) = row?;
            driver.pursue(txid, Submission::new(pending));
        }
        driver.flush()?;
        Ok(driver)
    }

    /// Has every module begin that has not yet. Call it after each open.
    ///
    /// `recovering` says that the words may have been used before; give the same value each time,
    /// for modules that appear later.
    ///
    /// Errors: a module that stopped; the others have begun, and a later call tries again.
    pub fn begin(&mut self, recovering: bool, now: Timestamp) -> Result<(), BeginError> {
        let mut failed = None;
        for instance in self.modules.keys().copied().collect::<Vec<_>>() {
            if let Err(stop) = self.begin_module(instance, recovering, now) {
                failed.get_or_insert(BeginError { instance, stop });
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes an action of the user: one turn of the module `instance`, whose type is `M`.
    ///
    /// Errors: nothing of the action happened. After `Store` open the driver again; only that tells
    /// whether an action happened whose commit ended in `CommitUnknown`.
    pub fn act<M: ClientModule, T, E>(
        &mut self,
        instance: ModuleInstanceId,
        now: Timestamp,
        action: impl FnOnce(&M, &mut Turn<'_, M::Machine>) -> Result<T, E>,
    ) -> Result<T, ActError<E>> {
        let module = self.modules.get(&instance);
        let module = module.and_then(|module| module.as_any().downcast_ref::<M>());
        let module = module.ok_or(ActError::NoSuchModule(instance))?;
        if self.is_stale {
            return Err(ActError::Store(StoreError::Stopped));
        }
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        let place = Place { now, instance, operation: None, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        let value = action(module, &mut Turn::new(&mut host)).map_err(ActError::Action)?;
        let (batch, effects) = host.finish()?;
        self.commit(batch, effects)?;
        Ok(value)
    }

    /// Goes on as far as possible and returns the calls to be made.
    ///
    /// Errors: the store failed. Open the driver again.
    pub fn poll(&mut self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        if self.is_stale {
            return Err(StoreError::Stopped);
        }
        self.agenda.ring(now);
        for _ in 0..MAX_STEPS_PER_POLL {
            let Some(owner) = self.agenda.next() else { break };
            // Whoever was to take this step is not on the agenda any more.
            self.step(owner, now).inspect_err(|_| self.is_stale = true)?;
            if self.stage.is_full() {
                self.flush()?;
            }
        }
        if self.stage.commit_by().is_some_and(|by| by <= now) {
            self.flush()?;
        }
        Ok(self.calls.take_outbox())
    }

    /// Commits what may wait a little. Call it before the driver is dropped; if nobody does, the next
    /// life of the wallet asks the guardians once more what became of some transactions.
    ///
    /// Errors: the store failed. Open the driver again.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.is_stale {
            return Err(StoreError::Stopped);
        }
        let Stage { batch, events, .. } = std::mem::take(&mut self.stage);
        if !batch.is_empty() {
            // What is in memory is ahead of the store then, even if it says that nothing happened.
            self.store.commit(batch).inspect_err(|_| self.is_stale = true)?;
        }
        self.events.extend(events);
        Ok(())
    }

    fn step(&mut self, owner: Owner, now: Timestamp) -> Result<(), StoreError> {
        match owner {
            Owner::Machine(id) => self.step_machine(id, now),
            Owner::Submit(txid) => self.step_submit(txid, now),
            Owner::Confirm(txid) => self.step_confirm(txid, now),
            Owner::Patience(txid) => {
                self.step_patience(txid, now);
                Ok(())
            }
        }
    }

    /// Takes the answer to a call. What follows from it happens in the next [`Driver::poll`].
    pub fn on_response(
        &mut self,
        id: RequestId,
        result: Result<Value, CallFailure>,
        now: Timestamp,
    ) {
        let Some((owner, peer)) = self.calls.take(id) else { return };
        let asking = match owner {
            Owner::Machine(id) => self.machines.get_mut(&id).map(|machine| &mut machine.asking),
            Owner::Submit(txid) => {
                self.submissions.get_mut(&txid).map(|submission| &mut submission.submit.asking)
            }
            Owner::Confirm(txid) => {
                self.submissions.get_mut(&txid).map(|submission| &mut submission.confirm.asking)
            }
            Owner::Patience(_) => None,
        };
        if let Some(asking) = asking.and_then(Option::as_mut) {
            asking.query.answer(peer, result, now);
            self.agenda.touch(owner);
        }
    }

    /// Returns the calls whose answers nobody waits for any more. They may be cut off.
    pub fn take_abandoned(&mut self) -> Vec<RequestId> {
        self.calls.take_abandoned()
    }

    /// When to poll again if nothing happens before; in the past if at once.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        [self.agenda.next_wakeup(), self.stage.commit_by()].into_iter().flatten().min()
    }

    /// Returns the events that were committed since the last call, and passing news among them. They
    /// pile up until they are taken.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Returns what the primary module can spend now.
    pub fn balance(&self) -> Result<Msat, StoreError> {
        let mut instances = self.modules.iter();
        let primary = instances.find(|(_, module)| module.can_balance(AmountUnit::BITCOIN));
        primary.map_or(Ok(Msat::ZERO), |(instance, _)| self.holdings(*instance))
    }

    /// Returns what one module holds and can spend now; nothing if it is not in use.
    pub fn holdings(&self, instance: ModuleInstanceId) -> Result<Msat, StoreError> {
        let Some(module) = self.modules.get(&instance) else { return Ok(Msat::ZERO) };
        module.holdings(&self.store.snapshot().scoped(module_scope(instance)))
    }

    /// The modules in use.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// The module `instance` if it is of type `M`.
    pub fn module<M: ClientModule>(&self, instance: ModuleInstanceId) -> Option<&M> {
        self.modules.get(&instance)?.as_any().downcast_ref()
    }

    /// A view of everything committed so far, for [`crate::history`].
    pub fn view(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// A view of one module's own state.
    pub fn module_view(&self, instance: ModuleInstanceId) -> Snapshot {
        self.store.snapshot().scoped(module_scope(instance))
    }

    /// How many transactions have an open fate, and how many machines run.
    pub fn pending(&self) -> (usize, usize) {
        (self.submissions.len(), self.machines.len())
    }

    /// The transactions whose fate is open.
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let unsettled = |(txid, submission): (&TransactionId, &Submission)| Unsettled {
            txid: *txid,
            operation: submission.pending.operation,
            created: Timestamp(submission.pending.created_ms),
            attempts: submission.attempts,
            is_stalled: submission.is_stalled(),
        };
        self.submissions.iter().map(unsettled).collect()
    }

    /// The operations that still have machines running, with their number. An operation that has
    /// ended may be among them: its change is still on its way then. Machines that run for the
    /// wallet's whole life belong to no operation.
    pub fn under_way(&self) -> BTreeMap<OperationId, usize> {
        let mut running = BTreeMap::new();
        for id in self.machines.values().filter_map(|machine| machine.stored.operation) {
            *running.entry(id).or_default() += 1;
        }
        running
    }

    fn begin_module(
        &mut self,
        instance: ModuleInstanceId,
        recovering: bool,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let snapshot = self.store.snapshot();
        let view = self.stage.over(&snapshot);
        let Some(module) = self.modules.get(&instance) else { return Ok(()) };
        if BEGUN.contains(&view, &instance)? {
            return Ok(());
        }
        let place = Place { now, instance, operation: None, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        module.begin(&mut host, recovering)?;
        BEGUN.insert(host.wallet(), &instance, &());
        let (batch, effects) = host.finish()?;
        Ok(self.commit(batch, effects)?)
    }

    /// Makes a turn durable together with what is staged, then sets going what it started. If it is
    /// not committed, nothing has changed.
    fn commit(&mut self, batch: Batch, effects: Effects) -> Result<(), StoreError> {
        if self.is_stale {
            return Err(StoreError::Stopped);
        }
        if !batch.is_empty() {
            let mut whole = self.stage.batch.clone();
            whole.absorb(batch);
            self.store.commit(whole).inspect_err(|error| {
                self.is_stale = !matches!(error, StoreError::NotCommitted { .. });
            })?;
            self.events.extend(std::mem::take(&mut self.stage).events);
        }
        let Effects { machines, transactions, events } = effects;
        self.events.extend(events);
        self.start(machines, transactions)
    }

    /// Stages a turn, to be committed by a time, and sets going what it started.
    fn keep(&mut self, batch: Batch, effects: Effects, by: Timestamp) -> Result<(), StoreError> {
        let Effects { machines, transactions, events } = effects;
        self.stage.add(batch, events, by);
        self.start(machines, transactions)
    }

    /// Sets going what a turn started. Its calls leave behind the commit.
    fn start(
        &mut self,
        machines: Vec<(MachineId, StoredMachine)>,
        transactions: Vec<(TransactionId, Pending)>,
    ) -> Result<(), StoreError> {
        for (txid, pending) in transactions {
            self.pursue(txid, Submission::new(pending));
        }
        for (id, stored) in machines {
            self.arm(id, stored).inspect_err(|_| self.is_stale = true)?;
        }
        Ok(())
    }
}
