//! Units: what one guardian put into consensus at once, decoded and processed as a whole.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use moneta_core::{
    AcceptedItem, ConsensusItem, ConsensusItemEnvelope, Decode, DecodeError, Encode,
    ModuleInstanceId, PeerId, SessionIndex, TransactionId,
};
use moneta_module::erased::Decoded;
use moneta_module::server::{Facts, Fault, Pass, Processing};
use moneta_store::{ScopedWrite, WriteSet};

use super::history::{SESSION_LIMIT_BYTES, size_bytes};
use super::transaction::{DecodedTransaction, Failure};
use super::{Engine, Halt, Stop, tables};

/// A thread that decodes fewer items of history costs more than it saves.
const DECODED_PER_WORKER_MIN: usize = 8;

/// The items that one guardian had ordered together.
pub struct Unit {
    /// Who proposed them.
    pub creator: PeerId,
    items: Vec<DecodedItem>,
}

impl Unit {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// What became of a unit's items.
#[derive(Debug, Default)]
pub struct Processed {
    /// The accepted ones, in order.
    pub accepted: Vec<AcceptedItem>,
    /// The transactions among them.
    pub transactions: Vec<TransactionId>,
    /// Transactions that were refused; whoever waits for one asks why by submitting it again.
    pub refused: Vec<TransactionId>,
    /// Items that the session has no room for ([`SESSION_LIMIT_BYTES`]). Nothing was decided about
    /// them: they are to be ordered again in a later session.
    pub postponed: Vec<ConsensusItem>,
    /// Encoded bytes of all items accepted in the session so far.
    pub session_bytes: u64,
}

struct DecodedItem {
    item: ConsensusItem,
    value: Value,
}

enum Value {
    Transaction(DecodedTransaction),
    Module(ModuleInstanceId, Decoded),
}

/// Why a unit is dropped whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Bytes do not decode, or not canonically.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no such module.
    #[error("there is no module instance {0}")]
    UnknownModule(ModuleInstanceId),
    /// There is no such kind of item.
    #[error("consensus item variant {0} is unknown")]
    UnknownItem(u64),
    /// A transaction is larger than may be ordered.
    #[error("a transaction is longer than the limit")]
    TransactionTooLarge,
}

/// Encodes a module's proposal as it goes into consensus.
pub(super) fn module_item_bytes(instance: ModuleInstanceId, bytes: Vec<u8>) -> Vec<u8> {
    ConsensusItem::Module(ConsensusItemEnvelope::from_raw(instance, bytes)).to_bytes()
}

impl Engine {
    /// Decodes a unit, the bytes inside modules included.
    ///
    /// Errors: the first reason found; the unit is dropped by every guardian alike then.
    pub fn decode_unit(&self, creator: PeerId, items: &[Vec<u8>]) -> Result<Unit, UnitError> {
        let items = items
            .iter()
            .map(|bytes| {
                let item = ConsensusItem::from_bytes(bytes)?;
                if item.to_bytes() != *bytes {
                    return Err(DecodeError::Invalid("canonical encoding").into());
                }
                self.decode_item(item)
            })
            .collect::<Result<_, UnitError>>()?;
        Ok(Unit { creator, items })
    }

    fn decode_item(&self, item: ConsensusItem) -> Result<DecodedItem, UnitError> {
        let value = match &item {
            ConsensusItem::Transaction(transaction) => {
                Value::Transaction(self.decode_transaction(transaction)?)
            }
            ConsensusItem::Module(envelope) => {
                let instance = envelope.instance;
                let module = self.module(instance).ok_or(UnitError::UnknownModule(instance))?;
                Value::Module(instance, module.decode_item(&envelope.bytes)?)
            }
            ConsensusItem::Unknown { variant, .. } => {
                return Err(UnitError::UnknownItem(*variant));
            }
        };
        Ok(DecodedItem { item, value })
    }

    /// Does the expensive work of units that are about to be processed, all at once.
    pub fn prepare(&self, units: &[&Unit]) {
        let mut inputs: BTreeMap<ModuleInstanceId, Vec<&Decoded>> = BTreeMap::new();
        let mut outputs: BTreeMap<ModuleInstanceId, Vec<&Decoded>> = BTreeMap::new();
        for item in units.iter().flat_map(|unit| &unit.items) {
            let Value::Transaction(transaction) = &item.value else { continue };
            for (instance, input) in &transaction.inputs {
                inputs.entry(*instance).or_default().push(input);
            }
            for (instance, output) in &transaction.outputs {
                outputs.entry(*instance).or_default().push(output);
            }
        }
        for (instance, module) in self.modules() {
            let inputs = inputs.remove(&instance).unwrap_or_default();
            let outputs = outputs.remove(&instance).unwrap_or_default();
            if !inputs.is_empty() || !outputs.is_empty() {
                module.prepare(&inputs, &outputs);
            }
        }
    }

    /// Processes the unit at `position` of `session`, which must be the next one, into `writes`.
    /// What does not fit into the session is postponed; smaller items behind it may still fit.
    ///
    /// Errors: [`Stop`]; `writes` is unchanged then.
    pub fn process_unit(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
        position: u64,
        unit: &Unit,
        facts: &Facts,
    ) -> Result<Processed, Stop> {
        let mut of_unit = writes.child();
        let mut next = self.item_count(&of_unit, session)?;
        let session_bytes = self.running_bytes(&of_unit, session)?;
        let mut processed = Processed { session_bytes, ..Processed::default() };
        for unit_item in &unit.items {
            let item = AcceptedItem { item: unit_item.item.clone(), peer: unit.creator };
            let grown = processed.session_bytes + size_bytes(&item);
            if grown > SESSION_LIMIT_BYTES {
                processed.postponed.push(item.item);
                continue;
            }
            if self.process_item(&mut of_unit, unit.creator, unit_item, facts)? {
                tables::ITEMS.insert(&mut of_unit, &(session, next), &item);
                next += 1;
                processed.session_bytes = grown;
                processed.accepted.push(item);
                if let Value::Transaction(transaction) = &unit_item.value {
                    processed.transactions.push(transaction.txid);
                }
            } else if let Value::Transaction(transaction) = &unit_item.value {
                processed.refused.push(transaction.txid);
            }
        }
        if !processed.accepted.is_empty() {
            tables::LAST_CONTRIBUTION.insert(&mut of_unit, &unit.creator, &session);
            tables::RUNNING_BYTES.insert(&mut of_unit, &session, &processed.session_bytes);
            self.check_solvency(&of_unit)?;
        }
        tables::PROGRESS.insert(&mut of_unit, &session, &(position + 1));
        let batch = of_unit.into_batch();
        writes.absorb(batch);
        Ok(processed)
    }

    /// Notes that the unit at `position` was dropped, so that it is not looked at again.
    pub fn skip_unit(
        &self,
        writes: &mut WriteSet<'_>,
        session: SessionIndex,
        position: u64,
    ) -> Result<(), Halt> {
        tables::PROGRESS.insert(writes, &session, &(position + 1));
        Ok(())
    }

    /// Decodes items of a signed session, each as a unit of its own; `None` if one does not decode. Points
    /// are what takes time, so it is done on all processors.
    pub(super) fn decode_history(&self, items: &[AcceptedItem]) -> Option<Vec<Unit>> {
        let workers = self.workers.min(items.len() / DECODED_PER_WORKER_MIN).max(1);
        let decode = |items: &[AcceptedItem]| -> Option<Vec<Unit>> {
            items.iter().map(|item| self.decode_historic(item)).collect()
        };
        if workers == 1 {
            return decode(items);
        }
        thread::scope(|scope| {
            let mut chunks = items.chunks(items.len().div_ceil(workers));
            let own = chunks.next().unwrap_or_default();
            let others: Vec<_> = chunks
                .map(|chunk| {
                    let worker = thread::Builder::new();
                    (chunk, worker.spawn_scoped(scope, move || decode(chunk)))
                })
                .collect();
            let mut units = decode(own);
            for (chunk, worker) in others {
                let decoded = match worker {
                    Ok(worker) => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    Err(_) => decode(chunk),
                };
                units = units.zip(decoded).map(|(mut units, decoded)| {
                    units.extend(decoded);
                    units
                });
            }
            units
        })
    }

    fn decode_historic(&self, item: &AcceptedItem) -> Option<Unit> {
        match self.decode_item(item.item.clone()) {
            Ok(decoded) => Some(Unit { creator: item.peer, items: vec![decoded] }),
            Err(error) => {
                tracing::error!(%error, "an item of signed history does not decode");
                None
            }
        }
    }

    /// Applies a unit of history, which is one item; true if it was accepted. If not, or if it stops,
    /// nothing is written.
    pub(super) fn process_whole(
        &self,
        writes: &mut WriteSet<'_>,
        unit: &Unit,
        facts: &Facts,
    ) -> Result<bool, Stop> {
        for item in &unit.items {
            if !self.process_item(writes, unit.creator, item, facts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn process_item(
        &self,
        writes: &mut WriteSet<'_>,
        peer: PeerId,
        item: &DecodedItem,
        facts: &Facts,
    ) -> Result<bool, Stop> {
        let mut of_item = writes.child();
        match &item.value {
            Value::Transaction(transaction) => {
                if tables::ACCEPTED.get(&of_item, &transaction.txid)?.is_some() {
                    return Ok(false);
                }
                match self.process_transaction(&mut of_item, transaction, facts, Pass::Final) {
                    Ok(()) => {}
                    Err(Failure::Refused(error)) => {
                        tracing::debug!(txid = %transaction.txid, %error, "transaction refused");
                        return Ok(false);
                    }
                    Err(Failure::Blocked(need)) => return Err(Stop::Blocked(need)),
                    Err(Failure::Halt(halt)) => return Err(Stop::Halt(halt)),
                }
            }
            Value::Module(instance, value) => {
                let module = self.module(*instance).ok_or(Halt::Module {
                    instance: *instance,
                    broken: moneta_module::server::Broken::Invariant("the module vanished"),
                })?;
                let mut scope = ScopedWrite::new(&mut of_item, tables::module_prefix(*instance));
                let mut call = Processing { state: &mut scope, facts, pass: Pass::Final };
                match module.process_item(&mut call, peer, value) {
                    Ok(()) => {}
                    Err(Fault::Refused(reason)) => {
                        tracing::debug!(%instance, %peer, %reason, "item refused");
                        return Ok(false);
                    }
                    Err(Fault::Blocked(need)) => return Err(Stop::Blocked(need)),
                    Err(Fault::Broken(broken)) => {
                        return Err(Halt::Module { instance: *instance, broken }.into());
                    }
                }
            }
        }
        let batch = of_item.into_batch();
        writes.absorb(batch);
        Ok(true)
    }
}
