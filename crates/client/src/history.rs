//! The user's history: operations, and the log of everything that happened in them.
//!
//! Views over a store's snapshot; the driver is the only writer. Kinds and members of events are
//! those of docs/protocol/guardian.md, section 9.

use moneta_core::id::{ModuleInstanceId, OperationId};
use moneta_module::client::{End, Timestamp};
use moneta_store::{Order, Read, StoreError};
use serde_json::Value;

use crate::driver::MachineId;
use crate::driver::tables::{
    EVENTS, EVENTS_OF_OPERATION, MACHINES, OPERATION_ORDER, OPERATIONS, StoredEvent,
    StoredOperation,
};

/// Something the user did.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// The module it began in.
    pub instance: ModuleInstanceId,
    /// What it is: `deposit`, `withdraw`, `send`, `receive`, `recover`.
    pub kind: String,
    /// What it is about, as it is shown.
    pub details: Value,
    /// When it began.
    pub begun: Timestamp,
    /// How it ended, if it did.
    pub end: Option<End>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Position in the log, from 0 without gaps. None for news that live listeners get and no log
    /// keeps: it passes, and it may come again.
    pub position: Option<u64>,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// The module it happened in; none for transactions.
    pub instance: Option<ModuleInstanceId>,
    /// What happened.
    pub kind: String,
    /// Its members.
    pub payload: Value,
    /// When it happened.
    pub at: Timestamp,
    /// How its operation ended with it, if it did.
    pub end: Option<End>,
}

/// A machine that stands still because an invariant did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMachine {
    /// Which machine.
    pub id: MachineId,
    /// The module it is of.
    pub instance: ModuleInstanceId,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// What did not hold.
    pub reason: String,
}

/// Returns an operation, if it is known.
pub fn operation(view: &dyn Read, id: OperationId) -> Result<Option<Operation>, StoreError> {
    Ok(OPERATIONS.get(view, &id)?.map(|stored| Operation::new(id, stored)))
}

/// Returns the latest operations, newest first, at most `limit`.
pub fn operations(view: &dyn Read, limit: usize) -> Result<Vec<Operation>, StoreError> {
    let mut found = Vec::new();
    for row in OPERATION_ORDER.scan(view, Order::Descending).take(limit) {
        let (_, id) = row?;
        found.extend(operation(view, id)?);
    }
    Ok(found)
}

/// Returns the events of an operation, oldest first.
pub fn events_of(view: &dyn Read, id: OperationId) -> Result<Vec<Event>, StoreError> {
    let mut found = Vec::new();
    for row in EVENTS_OF_OPERATION.starting_with(view, &id, Order::Ascending) {
        let ((_, position), ()) = row?;
        found.extend(EVENTS.get(view, &position)?.map(|stored| Event::new(position, stored)));
    }
    Ok(found)
}

/// Returns the events from `position` on, oldest first, at most `limit`.
pub fn events_from(view: &dyn Read, position: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
    let rows = EVENTS.range(view, position.., Order::Ascending).take(limit);
    rows.map(|row| row.map(|(position, stored)| Event::new(position, stored))).collect()
}

/// Returns the machines that stand still because an invariant did not hold. A healthy wallet has
/// none; their money waits for a release that knows better.
pub fn parked(view: &dyn Read) -> Result<Vec<ParkedMachine>, StoreError> {
    let mut found = Vec::new();
    for row in MACHINES.scan(view, Order::Ascending) {
        let (id, machine) = row?;
        let (instance, operation) = (machine.instance, machine.operation);
        let parked = machine.parked;
        found.extend(parked.map(|reason| ParkedMachine { id, instance, operation, reason }));
    }
    Ok(found)
}

impl Operation {
    fn new(id: OperationId, stored: StoredOperation) -> Self {
        let StoredOperation { instance, kind, details, begun_ms, end } = stored;
        Self { id, instance, kind, details: json(details), begun: Timestamp(begun_ms), end }
    }
}

impl Event {
    pub(crate) fn new(position: u64, stored: StoredEvent) -> Self {
        let StoredEvent { operation, instance, kind, payload, at_ms, end } = stored;
        let (position, payload, at) = (Some(position), json(payload), Timestamp(at_ms));
        Self { position, operation, instance, kind, payload, at, end }
    }

    /// News that no log keeps.
    pub(crate) fn passing(
        operation: Option<OperationId>,
        kind: &'static str,
        payload: Value,
        at: Timestamp,
    ) -> Self {
        let kind = kind.to_owned();
        Self { position: None, operation, instance: None, kind, payload, at, end: None }
    }
}

/// Text that this crate wrote as JSON. Should it not parse, it is shown as it is.
fn json(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
