//! One turn: what a module writes, starts, submits and notes before it is committed.

use moneta_core::amount::AmountUnit;
use moneta_core::id::{ModuleInstanceId, OperationId, TransactionId};
use moneta_module::client::{
    Draft, Host, Imbalance, NewOperation, Note, Origin, SubmitError, Submitted, Timestamp,
};
use moneta_store::{Batch, Read, ScopedWrite, StoreError, Write, WriteSet};
use rand::RngCore;
use serde_json::{Value, json};

use super::Modules;
use super::tables::{
    COUNTERS, Counters, EVENTS, EVENTS_OF_OPERATION, MACHINES, MachineId, OPERATION_ORDER,
    OPERATIONS, PENDING, Pending, StoredEvent, StoredMachine, StoredOperation, module_scope,
};
use crate::builder::{Builder, Built};
use crate::history::Event;

/// What a committed turn set going.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) machines: Vec<(MachineId, StoredMachine)>,
    pub(crate) transactions: Vec<(TransactionId, Pending)>,
    pub(crate) events: Vec<Event>,
}

impl Effects {
    fn absorb(&mut self, later: Self) {
        self.machines.extend(later.machines);
        self.transactions.extend(later.transactions);
        self.events.extend(later.events);
    }
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) now: Timestamp,
    pub(crate) instance: ModuleInstanceId,
    pub(crate) operation: Option<OperationId>,
    pub(crate) origin: Option<Origin>,
}

/// What the primary module adds to a transaction, and what it writes and starts for it.
struct Balanced {
    instance: ModuleInstanceId,
    draft: Draft<Vec<u8>>,
    batch: Batch,
    effects: Effects,
}

/// The driver's side of a [`moneta_module::client::Turn`].
pub(crate) struct TurnHost<'a> {
    modules: &'a Modules,
    writes: WriteSet<'a>,
    rng: &'a mut (dyn RngCore + 'a),
    place: Place,
    effects: Effects,
    /// Whether this is the part of a turn in which the primary module balances a transaction.
    balancing: bool,
    /// The first failure of the store in a function that cannot report one.
    failure: Option<StoreError>,
}

impl<'a> TurnHost<'a> {
    /// A turn at `place` over `view`.
    pub(crate) fn new(
        modules: &'a Modules,
        view: &'a dyn Read,
        rng: &'a mut (dyn RngCore + 'a),
        place: Place,
    ) -> Self {
        let writes = WriteSet::new(view);
        let effects = Effects::default();
        Self { modules, writes, rng, place, effects, balancing: false, failure: None }
    }

    /// The writes of the whole wallet, for rows that are not the module's.
    pub(crate) fn wallet(&mut self) -> &mut WriteSet<'a> {
        &mut self.writes
    }

    /// Ends the turn.
    ///
    /// Errors: a failure of the store that came up in it.
    pub(crate) fn finish(self) -> Result<(Batch, Effects), StoreError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok((self.writes.into_batch(), self.effects)),
        }
    }

    /// Notes an event that no module notes itself.
    pub(crate) fn note_of_driver(&mut self, kind: &'static str, payload: Value) {
        let note = Note { kind, payload, end: None };
        self.try_note(note, None).unwrap_or_else(|failure| self.fail(failure));
    }

    fn fail(&mut self, failure: StoreError) {
        self.failure.get_or_insert(failure);
    }

    /// Returns a counter's value and moves it on.
    fn count(&mut self, counter: fn(&mut Counters) -> &mut u64) -> Result<u64, StoreError> {
        let mut counters = COUNTERS.get(&self.writes, &())?.unwrap_or_default();
        let counter = counter(&mut counters);
        let value = *counter;
        *counter += 1;
        COUNTERS.insert(&mut self.writes, &(), &counters);
        Ok(value)
    }

    fn try_spawn(&mut self, machine: StoredMachine) -> Result<(), StoreError> {
        let id = MachineId(self.count(|counters| &mut counters.machine)?);
        MACHINES.insert(&mut self.writes, &id, &machine);
        self.effects.machines.push((id, machine));
        Ok(())
    }

    fn spawn_from(
        &mut self,
        instance: ModuleInstanceId,
        origin: Option<Origin>,
        state: Vec<u8>,
    ) -> Result<(), StoreError> {
        let (operation, saved_ms) = (self.place.operation, self.place.now.0);
        let parked = None;
        self.try_spawn(StoredMachine { instance, operation, origin, state, parked, saved_ms })
    }

    fn try_note(
        &mut self,
        note: Note,
        instance: Option<ModuleInstanceId>,
    ) -> Result<(), StoreError> {
        let Note { kind, payload, end } = note;
        let operation = self.place.operation;
        let (kind, payload, at_ms) = (kind.to_owned(), payload.to_string(), self.place.now.0);
        let event = StoredEvent { operation, instance, kind, payload, at_ms, end };
        let position = self.count(|counters| &mut counters.event)?;
        EVENTS.insert(&mut self.writes, &position, &event);
        if let Some(id) = operation {
            EVENTS_OF_OPERATION.insert(&mut self.writes, &(id, position), &());
            let stored = OPERATIONS.get(&self.writes, &id)?;
            // How an operation ended is said once; later events of it change nothing.
            if let (Some(mut stored), Some(_)) = (stored.filter(|op| op.end.is_none()), end) {
                stored.end = end;
                OPERATIONS.insert(&mut self.writes, &id, &stored);
            }
        }
        self.effects.events.push(Event::new(position, event));
        Ok(())
    }

    /// Lets the primary module balance, in writes of its own that are dropped on errors.
    fn balance(&mut self, imbalance: Imbalance) -> Result<Balanced, SubmitError> {
        let mut instances = self.modules.iter();
        let primary = instances.find(|(_, module)| module.can_balance(AmountUnit::BITCOIN));
        let Some((instance, module)) = primary else {
            return Ok(Balanced {
                instance: self.place.instance,
                draft: Draft::default(),
                batch: Batch::new(),
                effects: Effects::default(),
            });
        };
        let mut host = TurnHost {
            modules: self.modules,
            writes: self.writes.child(),
            rng: &mut *self.rng,
            place: Place { instance: *instance, ..self.place },
            effects: Effects::default(),
            balancing: true,
            failure: None,
        };
        let draft = module.balance(&mut host, imbalance)?;
        let (batch, effects) = host.finish()?;
        Ok(Balanced { instance: *instance, draft, batch, effects })
    }

    fn save(&mut self, built: &Built) -> Result<(), StoreError> {
        let txid = built.own.txid;
        let operation = self.place.operation;
        let (transaction, created_ms) = (built.transaction.clone(), self.place.now.0);
        let pending = Pending { operation, transaction, created_ms };
        PENDING.insert(&mut self.writes, &txid, &pending);
        self.effects.transactions.push((txid, pending));
        let payload = json!({ "txid": txid, "operation_id": operation });
        self.try_note(Note { kind: "tx-created", payload, end: None }, None)
    }
}

impl Host for TurnHost<'_> {
    fn state(&mut self) -> Box<dyn Write + '_> {
        let scope = module_scope(self.place.instance);
        Box::new(ScopedWrite::new(&mut self.writes, scope))
    }

    fn now(&self) -> Timestamp {
        self.place.now
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        self.rng
    }

    fn origin(&self) -> Option<Origin> {
        self.place.origin
    }

    fn begin_operation(&mut self, new: NewOperation) -> Result<OperationId, SubmitError> {
        let NewOperation { id, kind, details } = new;
        let id = id.unwrap_or_else(|| {
            let mut bytes = [0; 32];
            self.rng.fill_bytes(&mut bytes);
            OperationId(bytes)
        });
        if OPERATIONS.contains(&self.writes, &id)? {
            return Err(SubmitError::OperationExists(id));
        }
        let stored = StoredOperation {
            instance: self.place.instance,
            kind: kind.to_owned(),
            details: details.to_string(),
            begun_ms: self.place.now.0,
            end: None,
        };
        OPERATIONS.insert(&mut self.writes, &id, &stored);
        let position = self.count(|counters| &mut counters.operation)?;
        OPERATION_ORDER.insert(&mut self.writes, &position, &id);
        self.place.operation = Some(id);
        Ok(id)
    }

    fn spawn(&mut self, machine: Vec<u8>) {
        let origin = None;
        self.spawn_from(self.place.instance, origin, machine)
            .unwrap_or_else(|failure| self.fail(failure));
    }

    fn submit(&mut self, draft: Draft<Vec<u8>>) -> Result<Submitted, SubmitError> {
        if self.balancing {
            return Err(SubmitError::Invariant("a module submitted while it was to balance"));
        }
        let Draft { inputs, outputs, machine } = draft;
        let builder = Builder::new(inputs, outputs);
        let Balanced { instance: primary, draft: balance, batch, effects } =
            self.balance(builder.imbalance()?)?;
        let mut nonce = [0; 8];
        self.rng.fill_bytes(&mut nonce);
        let built = builder.complete(balance.inputs, balance.outputs, nonce)?;

        // The transaction is made: from here on only the store can fail, which ends the turn.
        self.writes.absorb(batch);
        self.effects.absorb(effects);
        self.save(&built)?;
        if let Some(machine) = machine {
            self.spawn_from(self.place.instance, Some(built.own), machine)?;
        }
        if let Some(machine) = balance.machine {
            self.spawn_from(primary, Some(built.balance), machine)?;
        }
        Ok(Submitted { origin: built.own, fees: built.fees })
    }

    fn note(&mut self, note: Note) {
        let instance = Some(self.place.instance);
        self.try_note(note, instance).unwrap_or_else(|failure| self.fail(failure));
    }
}
