//! A host that does what the driver does for one turn, in memory.

use std::collections::BTreeSet;

use bitcoin::hashes::{Hash as _, sha256};
use moneta_core::id::IdxRange;
use moneta_core::{Msat, OperationId, TransactionId};
use moneta_module::client::{
    Draft, Host, NewOperation, Note, Origin, SubmitError, Submitted, Timestamp,
};
use moneta_store::{Read, ScopedWrite, Write, WriteSet};
use rand::RngCore;

/// What a turn decided, beside its writes.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) spawned: Vec<(Vec<u8>, Option<Origin>, Option<OperationId>)>,
    pub(super) notes: Vec<(Option<OperationId>, Note)>,
    pub(super) operations: Vec<(OperationId, NewOperation)>,
    pub(super) transactions: Vec<(TransactionId, Draft<Vec<u8>>)>,
}

pub(super) struct FakeHost<'a> {
    pub(super) writes: WriteSet<'a>,
    pub(super) effects: Effects,
    pub(super) now: Timestamp,
    pub(super) origin: Option<Origin>,
    pub(super) operation: Option<OperationId>,
    pub(super) known_operations: &'a BTreeSet<OperationId>,
    /// What the wallet can spend.
    pub(super) money: Msat,
    pub(super) rng: rand::rngs::mock::StepRng,
}

impl<'a> FakeHost<'a> {
    pub(super) fn new(
        view: &'a dyn Read,
        known_operations: &'a BTreeSet<OperationId>,
        now: Timestamp,
    ) -> Self {
        Self {
            writes: WriteSet::new(view),
            effects: Effects::default(),
            now,
            origin: None,
            operation: None,
            known_operations,
            money: Msat::ZERO,
            rng: rand::rngs::mock::StepRng::new(now.0, 0x9e37_79b9_7f4a_7c15),
        }
    }
}

impl Host for FakeHost<'_> {
    fn state(&mut self) -> Box<dyn Write + '_> {
        Box::new(ScopedWrite::new(&mut self.writes, Vec::new()))
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        &mut self.rng
    }

    fn origin(&self) -> Option<Origin> {
        self.origin
    }

    fn begin_operation(&mut self, new: NewOperation) -> Result<OperationId, SubmitError> {
        let id = new.id.unwrap_or_else(|| {
            let mut bytes = [0; 32];
            self.rng.fill_bytes(&mut bytes);
            OperationId(bytes)
        });
        if self.known_operations.contains(&id) {
            return Err(SubmitError::OperationExists(id));
        }
        self.operation = Some(id);
        self.effects.operations.push((id, new));
        Ok(id)
    }

    fn spawn(&mut self, machine: Vec<u8>) {
        self.effects.spawned.push((machine, None, self.operation));
    }

    fn submit(&mut self, draft: Draft<Vec<u8>>) -> Result<Submitted, SubmitError> {
        let sum = |amounts: Vec<Msat>| Msat::checked_sum(amounts).unwrap();
        let brought = sum(draft.inputs.iter().map(|input| input.amount).collect());
        let taken = sum(draft.outputs.iter().map(|output| output.amount).collect());
        let fees = draft.inputs.iter().map(|input| input.fee);
        let fees = sum(fees.chain(draft.outputs.iter().map(|output| output.fee)).collect());
        let needed = taken.checked_add(fees).unwrap();
        let available = brought.checked_add(self.money).unwrap();
        if available < needed {
            return Err(SubmitError::Insufficient { needed, available });
        }
        let unique = (self.now.0, self.rng.next_u64(), self.effects.transactions.len());
        let unique = format!("{unique:?}{}", draft.inputs.len());
        let txid = TransactionId(sha256::Hash::hash(unique.as_bytes()).to_byte_array());
        let origin = Origin {
            txid,
            inputs: IdxRange { start: 0, end: draft.inputs.len() as u64 },
            outputs: IdxRange { start: 0, end: draft.outputs.len() as u64 },
        };
        if let Some(machine) = draft.machine.clone() {
            self.effects.spawned.push((machine, Some(origin), self.operation));
        }
        self.effects.transactions.push((txid, draft));
        Ok(Submitted { origin, fees })
    }

    fn note(&mut self, note: Note) {
        self.effects.notes.push((self.operation, note));
    }
}
