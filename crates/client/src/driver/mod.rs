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
//! Crash contract. Everything a turn decides is committed at once and before any call leaves.
//! [`Driver::open`] finds each machine as of its last committed turn and has it wait for the same
//! thing again; each transaction without a fate is submitted again under the same id. So a crash
//! before a commit undoes the turn, and a crash behind it repeats only calls, which are idempotent.
//!
//! After an error of the store drop the driver and open it again: what was committed is then seen.
//!
//! Trouble of one machine stays its own. `Stop::Later` keeps its outcome and offers it again with
//! growing pauses; `Stop::Invariant` parks it, visible in [`crate::history::parked`] and tried once
//! more at each open, since a newer release may know better.

mod agenda;
mod calls;
mod machine;
mod modules;
mod submission;
pub(crate) mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod turn;

pub use calls::{Request, RequestId};
pub use modules::{Modules, OpenModuleError, OpenedModules, open_modules};
pub use tables::MachineId;

use std::collections::BTreeMap;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::id::{ModuleInstanceId, OperationId, TransactionId};
use moneta_core::peers::FederationSize;
use moneta_core::transaction::ModuleFailure;
use moneta_module::client::{ClientModule, Outcome, Stop, Timestamp, Turn};
use moneta_store::{Batch, Order, Snapshot, Store, StoreError};
use rand::RngCore;
use serde_json::{Value, json};

use crate::history::Event;
use crate::query::CallFailure;
use agenda::{Agenda, Owner};
use calls::Calls;
use machine::Machine;
use submission::{Submission, confirm_call, fate_of_confirmation, fate_of_submission, submit_call};
use tables::{BEGUN, FATES, Fate, MACHINES, PENDING, StoredMachine, module_scope};
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
    events: Vec<Event>,
}

/// Why an action of the user did not happen. Nothing of it was written or sent.
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
            events: Vec::new(),
        };
        let view = driver.store.snapshot();
        for row in MACHINES.scan(&view, Order::Ascending) {
            let (id, stored) = row?;
            driver.arm(id, stored, Timestamp(0))?;
        }
        for row in PENDING.scan(&view, Order::Ascending) {
            let (txid, pending) = row?;
            driver.pursue(txid, Submission::new(pending));
        }
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
    /// Errors: nothing of the action happened. After `Store` open the driver again.
    pub fn act<M: ClientModule, T, E>(
        &mut self,
        instance: ModuleInstanceId,
        now: Timestamp,
        action: impl FnOnce(&M, &mut Turn<'_, M::Machine>) -> Result<T, E>,
    ) -> Result<T, ActError<E>> {
        let module = self.modules.get(&instance);
        let module = module.and_then(|module| module.as_any().downcast_ref::<M>());
        let module = module.ok_or(ActError::NoSuchModule(instance))?;
        let view = self.store.snapshot();
        let place = Place { now, instance, operation: None, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        let value = action(module, &mut Turn::new(&mut host)).map_err(ActError::Action)?;
        let (batch, effects) = host.finish()?;
        self.commit(batch, effects, now)?;
        Ok(value)
    }

    /// Goes on as far as possible and returns the calls to be made.
    ///
    /// Errors: the store failed. Open the driver again.
    pub fn poll(&mut self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        self.agenda.ring(now);
        for _ in 0..MAX_STEPS_PER_POLL {
            match self.agenda.next() {
                Some(Owner::Machine(id)) => self.step_machine(id, now)?,
                Some(Owner::Submit(txid)) => self.step_submit(txid, now)?,
                Some(Owner::Confirm(txid)) => self.step_confirm(txid, now)?,
                None => break,
            }
        }
        Ok(self.calls.take_outbox())
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
        self.agenda.next_wakeup()
    }

    /// Returns the events that were committed since the last call.
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
        let view = self.store.snapshot();
        let Some(module) = self.modules.get(&instance) else { return Ok(()) };
        if BEGUN.contains(&view, &instance)? {
            return Ok(());
        }
        let place = Place { now, instance, operation: None, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        module.begin(&mut host, recovering)?;
        BEGUN.insert(host.wallet(), &instance, &());
        let (batch, effects) = host.finish()?;
        Ok(self.commit(batch, effects, now)?)
    }

    fn step_machine(&mut self, id: MachineId, now: Timestamp) -> Result<(), StoreError> {
        let Some(machine) = self.machines.get_mut(&id) else { return Ok(()) };
        let Some(module) = self.modules.get(&machine.stored.instance) else { return Ok(()) };
        match machine.outcome(&**module, &self.store.snapshot(), now) {
            Ok(Some(outcome)) => self.advance(id, outcome, now),
            Ok(None) => {
                let owner = Owner::Machine(id);
                if let Some(asking) = &mut machine.asking {
                    self.calls.send(owner, asking, now);
                }
                self.agenda.set_timer(owner, machine.next_wakeup());
                Ok(())
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(stop) => self.park(id, &stop, now),
        }
    }

    /// One turn of a machine.
    fn advance(
        &mut self,
        id: MachineId,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(machine) = self.machines.get_mut(&id) else { return Ok(()) };
        let stored = &machine.stored;
        let Some(module) = self.modules.get(&stored.instance) else { return Ok(()) };
        let view = self.store.snapshot();
        let (instance, operation, origin) = (stored.instance, stored.operation, stored.origin);
        let place = Place { now, instance, operation, origin };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        match module.advance(&mut host, &stored.state, outcome.clone()) {
            Ok(Some(state)) => {
                let next = StoredMachine { state, parked: None, ..stored.clone() };
                MACHINES.insert(host.wallet(), &id, &next);
                let (batch, effects) = host.finish()?;
                self.commit(batch, effects, now)?;
                self.dismiss(id);
                self.arm(id, next, now)
            }
            Ok(None) => {
                MACHINES.remove(host.wallet(), &id);
                let (batch, effects) = host.finish()?;
                self.commit(batch, effects, now)?;
                self.dismiss(id);
                Ok(())
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(Stop::Later(reason)) => {
                tracing::debug!(machine = id.0, reason, "machine goes on later");
                machine.hold(outcome, now);
                self.agenda.set_timer(Owner::Machine(id), machine.next_wakeup());
                Ok(())
            }
            Err(stop) => self.park(id, &stop, now),
        }
    }

    /// Has a machine wait. One whose module is not in use stays in the store.
    fn arm(
        &mut self,
        id: MachineId,
        stored: StoredMachine,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(module) = self.modules.get(&stored.instance) else { return Ok(()) };
        match Machine::arm(stored.clone(), &**module, self.size, &mut *self.rng) {
            Ok(machine) => {
                self.machines.insert(id, machine);
                self.agenda.touch(Owner::Machine(id));
                Ok(())
            }
            Err(Stop::Store(failure)) => Err(failure),
            Err(stop) => self.park_stored(id, stored, &stop, now),
        }
    }

    /// Takes a machine out of memory, with its calls and timers.
    fn dismiss(&mut self, id: MachineId) -> Option<StoredMachine> {
        let Machine { stored, asking, .. } = self.machines.remove(&id)?;
        asking.into_iter().for_each(|asking| self.calls.close(asking));
        self.agenda.set_timer(Owner::Machine(id), None);
        Some(stored)
    }

    fn park(&mut self, id: MachineId, stop: &Stop, now: Timestamp) -> Result<(), StoreError> {
        match self.dismiss(id) {
            Some(stored) => self.park_stored(id, stored, stop, now),
            None => Ok(()),
        }
    }

    fn park_stored(
        &mut self,
        id: MachineId,
        stored: StoredMachine,
        stop: &Stop,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let reason = stop.to_string();
        let StoredMachine { instance, operation, origin, ref parked, .. } = stored;
        if parked.as_ref() == Some(&reason) {
            return Ok(());
        }
        tracing::error!(machine = id.0, %instance, reason, "machine parked");
        let view = self.store.snapshot();
        let place = Place { now, instance, operation, origin };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        host.note_of_driver("machine-parked", json!({ "module_id": instance, "reason": &reason }));
        let stored = StoredMachine { parked: Some(reason), ..stored };
        MACHINES.insert(host.wallet(), &id, &stored);
        let (batch, effects) = host.finish()?;
        self.commit(batch, effects, now)
    }

    fn pursue(&mut self, txid: TransactionId, submission: Submission) {
        self.submissions.insert(txid, submission);
        self.agenda.touch(Owner::Submit(txid));
        self.agenda.touch(Owner::Confirm(txid));
    }

    fn step_submit(&mut self, txid: TransactionId, now: Timestamp) -> Result<(), StoreError> {
        let Some(submission) = self.submissions.get_mut(&txid) else { return Ok(()) };
        let Submission { pending, submit: round, .. } = submission;
        if let Some((asking, outcome)) = round.outcome(now) {
            self.calls.close(asking);
            if let Some(fate) = fate_of_submission(&outcome) {
                return self.settle(txid, fate, now);
            }
            if let Outcome::CallRefused { code, message } = outcome {
                tracing::warn!(%txid, code, message, "guardians do not take the transaction");
            }
            round.pause(now);
        }
        round.begin_if_due(now, || submit_call(&pending.transaction, self.size));
        if let Some(asking) = &mut round.asking {
            self.calls.send(Owner::Submit(txid), asking, now);
        }
        self.agenda.set_timer(Owner::Submit(txid), round.next_wakeup());
        Ok(())
    }

    fn step_confirm(&mut self, txid: TransactionId, now: Timestamp) -> Result<(), StoreError> {
        let Some(submission) = self.submissions.get_mut(&txid) else { return Ok(()) };
        let round = &mut submission.confirm;
        if let Some((asking, outcome)) = round.outcome(now) {
            self.calls.close(asking);
            if let Some(fate) = fate_of_confirmation(&outcome, txid) {
                return self.settle(txid, fate, now);
            }
            round.pause(now);
        }
        round.begin_if_due(now, || confirm_call(txid, self.size));
        if let Some(asking) = &mut round.asking {
            self.calls.send(Owner::Confirm(txid), asking, now);
        }
        self.agenda.set_timer(Owner::Confirm(txid), round.next_wakeup());
        Ok(())
    }

    /// Records the fate of a transaction and wakes whoever waits for it.
    fn settle(
        &mut self,
        txid: TransactionId,
        fate: Fate,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(submission) = self.submissions.get(&txid) else { return Ok(()) };
        let operation = submission.pending.operation;
        let view = self.store.snapshot();
        // The event is the driver's own, whatever instance the place names.
        let instance = ModuleInstanceId::RESERVED;
        let place = Place { now, instance, operation, origin: None };
        let mut host = TurnHost::new(&self.modules, &view, &mut *self.rng, place);
        match &fate {
            Fate::Accepted => {
                let payload = json!({ "txid": txid, "operation_id": operation });
                host.note_of_driver("tx-accepted", payload);
            }
            Fate::Rejected { error } => {
                let error = error.to_text(|failure| match failure {
                    ModuleFailure::Input(error) => format!("{error:?}"),
                    ModuleFailure::Output(error) => format!("{error:?}"),
                });
                let payload = json!({ "txid": txid, "error": error, "operation_id": operation });
                host.note_of_driver("tx-rejected", payload);
            }
        }
        PENDING.remove(host.wallet(), &txid);
        FATES.insert(host.wallet(), &txid, &fate);
        let (batch, effects) = host.finish()?;
        self.commit(batch, effects, now)?;

        if let Some(Submission { submit, confirm, .. }) = self.submissions.remove(&txid) {
            let askings = [submit.asking, confirm.asking];
            askings.into_iter().flatten().for_each(|asking| self.calls.close(asking));
        }
        self.agenda.set_timer(Owner::Submit(txid), None);
        self.agenda.set_timer(Owner::Confirm(txid), None);
        for (id, machine) in &self.machines {
            if machine.wait.transaction.is_some_and(|wait| wait.txid == txid) {
                self.agenda.touch(Owner::Machine(*id));
            }
        }
        Ok(())
    }

    /// Makes a turn durable, then sets going what it started.
    fn commit(&mut self, batch: Batch, effects: Effects, now: Timestamp) -> Result<(), StoreError> {
        if !batch.is_empty() {
            self.store.commit(batch)?;
        }
        let Effects { machines, transactions, events } = effects;
        self.events.extend(events);
        for (txid, pending) in transactions {
            self.pursue(txid, Submission::new(pending));
        }
        for (id, stored) in machines {
            self.arm(id, stored, now)?;
        }
        Ok(())
    }
}
