//! What a wallet keeps for one federation.
//!
//! Layout of the store (numbers as encoded, docs/protocol/core.md section 1):
//!
//! | Prefix | Key | Value |
//! |---|---|---|
//! | 0x01 | module instance, then the module's own key | the module's own value |
//! | 0x02 | machine id | machine |
//! | 0x03 | txid | transaction whose fate is open |
//! | 0x04 | txid | fate |
//! | 0x05 | operation id | operation |
//! | 0x06 | position in the order of begin | operation id |
//! | 0x07 | position in the event log | event |
//! | 0x08 | operation id, position in the event log | nothing |
//! | 0x09 | module instance | nothing; the module has begun |
//! | 0x0a | - | next free machine id, operation position and event position |
//! | 0x10.. | | what is known about the federation, see `online` |
//!
//! Nothing but 0x02 and 0x03 is ever removed.

use moneta_core::id::{ModuleInstanceId, OperationId, TransactionId};
use moneta_core::transaction::{Transaction, TransactionError};
use moneta_core::{Decode, Encode};
use moneta_module::client::{End, Origin};
use moneta_store::Table;

/// A machine's number, counted up over the wallet's life and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MachineId(pub u64);

/// Prefix of the modules' own keys.
const MODULE_STATE: u8 = 0x01;

pub(crate) const MACHINES: Table<MachineId, StoredMachine> = Table::new(0x02);
pub(crate) const PENDING: Table<TransactionId, Pending> = Table::new(0x03);
pub(crate) const FATES: Table<TransactionId, Fate> = Table::new(0x04);
pub(crate) const OPERATIONS: Table<OperationId, StoredOperation> = Table::new(0x05);
pub(crate) const OPERATION_ORDER: Table<u64, OperationId> = Table::new(0x06);
pub(crate) const EVENTS: Table<u64, StoredEvent> = Table::new(0x07);
pub(crate) const EVENTS_OF_OPERATION: Table<(OperationId, u64), ()> = Table::new(0x08);
pub(crate) const BEGUN: Table<ModuleInstanceId, ()> = Table::new(0x09);
pub(crate) const COUNTERS: Table<(), Counters> = Table::new(0x0a);

/// The prefix of one module's keys.
pub(crate) fn module_scope(instance: ModuleInstanceId) -> Vec<u8> {
    let mut prefix = vec![MODULE_STATE];
    instance.encode(&mut prefix);
    prefix
}

/// A machine between two turns.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct StoredMachine {
    pub(crate) instance: ModuleInstanceId,
    pub(crate) operation: Option<OperationId>,
    pub(crate) origin: Option<Origin>,
    /// The module's encoding of the machine's state.
    pub(crate) state: Vec<u8>,
    /// Set when an invariant did not hold: the machine stands still until a newer release.
    pub(crate) parked: Option<String>,
    /// The clock when this state was reached.
    pub(crate) saved_ms: u64,
}

/// A transaction that is submitted until its fate is known.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct Pending {
    pub(crate) operation: Option<OperationId>,
    pub(crate) transaction: Transaction,
    pub(crate) created_ms: u64,
}

/// What became of a transaction.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) enum Fate {
    Accepted,
    Rejected { error: TransactionError },
}

/// An entry of the user's history.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct StoredOperation {
    pub(crate) instance: ModuleInstanceId,
    pub(crate) kind: String,
    /// JSON text.
    pub(crate) details: String,
    pub(crate) begun_ms: u64,
    pub(crate) end: Option<End>,
}

/// Something that happened.
#[derive(Debug, Clone, Encode, Decode)]
pub(crate) struct StoredEvent {
    pub(crate) operation: Option<OperationId>,
    pub(crate) instance: Option<ModuleInstanceId>,
    pub(crate) kind: String,
    /// JSON text.
    pub(crate) payload: String,
    pub(crate) at_ms: u64,
    pub(crate) end: Option<End>,
}

/// Next free numbers.
#[derive(Debug, Clone, Copy, Default, Encode, Decode)]
pub(crate) struct Counters {
    pub(crate) machine: u64,
    pub(crate) operation: u64,
    pub(crate) event: u64,
}
