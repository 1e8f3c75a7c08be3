//! Transactions: decoded once, processed all or nothing.
//!
//! Source: docs/protocol/core.md, section 3.4. The order of the steps decides which error all
//! guardians give and must not change.

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::PublicKey;
use moneta_core::transaction::funding::Tally;
use moneta_core::{
    Amounts, Encode, InputErrorEnvelope, ModuleInstanceId, OutPoint, OutputErrorEnvelope,
    Transaction, TransactionError, TransactionId,
};
use moneta_module::erased::Decoded;
use moneta_module::server::{Broken, Facts, Fault, Need, Pass, Processing};
use moneta_store::{ScopedWrite, StoreError, WriteSet};

use super::{Engine, Halt, UnitError, tables};

/// A transaction whose module values are decoded.
pub(super) struct DecodedTransaction {
    pub(super) txid: TransactionId,
    pub(super) inputs: Vec<(ModuleInstanceId, Decoded)>,
    pub(super) outputs: Vec<(ModuleInstanceId, Decoded)>,
    transaction: Transaction,
}

/// What all module calls of one transaction are given.
#[derive(Clone, Copy)]
struct Run<'a> {
    facts: &'a Facts,
    pass: Pass,
}

/// Why a transaction was not processed.
pub(super) enum Failure {
    /// The protocol's error.
    Refused(Box<TransactionError>),
    /// Outside data is missing.
    Blocked(Need),
    /// The guardian must halt.
    Halt(Halt),
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        Self::Refused(Box::new(error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Halt(Halt::Store(error))
    }
}

impl Engine {
    pub(super) fn decode_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<DecodedTransaction, UnitError> {
        if !transaction.fits_size_limit() {
            return Err(UnitError::TransactionTooLarge);
        }
        let module = |instance| self.module(instance).ok_or(UnitError::UnknownModule(instance));
        let mut inputs = Vec::with_capacity(transaction.inputs.len());
        for input in &transaction.inputs {
            let decoded = module(input.instance)?.decode_input(&input.bytes)?;
            inputs.push((input.instance, decoded));
        }
        let mut outputs = Vec::with_capacity(transaction.outputs.len());
        for output in &transaction.outputs {
            let decoded = module(output.instance)?.decode_output(&output.bytes)?;
            outputs.push((output.instance, decoded));
        }
        let txid = transaction.txid();
        Ok(DecodedTransaction { txid, inputs, outputs, transaction: transaction.clone() })
    }

    /// Verifies one submitted transaction's inputs ahead of processing it: all at once or, if one is
    /// bad, those before the first bad one. What comes after that is never looked at, so a bad
    /// transaction costs twice a good one at most and not a search for all that is bad in it.
    pub(super) fn prepare_transaction(&self, transaction: &DecodedTransaction) {
        for (instance, module) in self.modules() {
            let inputs: Vec<_> = transaction
                .inputs
                .iter()
                .filter_map(|(of, input)| (*of == instance).then_some(input))
                .collect();
            if inputs.is_empty() || module.prepare_together(&inputs) {
                continue;
            }
            let mut suspects = &inputs[..];
            while suspects.len() > 1 {
                let (left, right) = suspects.split_at(suspects.len() / 2);
                suspects = if module.prepare_together(left) { right } else { left };
            }
        }
    }

    /// Applies `transaction` to `writes`.
    ///
    /// Errors: what was written before the failure stays in `writes`; the caller drops it.
    pub(super) fn process_transaction(
        &self,
        writes: &mut WriteSet<'_>,
        transaction: &DecodedTransaction,
        facts: &Facts,
        pass: Pass,
    ) -> Result<(), Failure> {
        let run = Run { facts, pass };
        let mut tally = Tally::default();
        let mut keys = Vec::with_capacity(transaction.inputs.len());
        for (instance, input) in &transaction.inputs {
            let effect = self
                .call(writes, *instance, run, |module, call| module.process_input(call, input))?
                .map_err(|bytes| {
                    TransactionError::Input(InputErrorEnvelope::from_raw(*instance, bytes))
                })?;
            tally.add_input(
                &of_unit(effect.unit, effect.amount),
                &of_unit(effect.unit, effect.fee),
            )?;
            keys.push(effect.key);
            self.keep_net(writes, *instance, effect.net_msat)?;
        }
        self.verify_signatures(&transaction.transaction, &keys)?;
        for (index, (instance, output)) in transaction.outputs.iter().enumerate() {
            let out_point = OutPoint { txid: transaction.txid, out_idx: index as u64 };
            let effect = self
                .call(writes, *instance, run, |module, call| {
                    module.process_output(call, output, out_point)
                })?
                .map_err(|bytes| {
                    TransactionError::Output(OutputErrorEnvelope::from_raw(*instance, bytes))
                })?;
            tally.add_output(
                &of_unit(effect.unit, effect.amount),
                &of_unit(effect.unit, effect.fee),
            )?;
            self.keep_net(writes, *instance, effect.net_msat)?;
        }
        tally.check(self.version)?;
        let instances = transaction.outputs.iter().map(|(instance, _)| *instance).collect();
        tables::ACCEPTED.insert(writes, &transaction.txid, &instances);
        Ok(())
    }

    /// Checks the signatures of the inputs, once: a transaction that was submitted here is not
    /// checked again when it is ordered.
    fn verify_signatures(
        &self,
        transaction: &Transaction,
        keys: &[PublicKey],
    ) -> Result<(), TransactionError> {
        let mut hasher = sha256::Hash::engine();
        hasher.input(&transaction.to_bytes());
        keys.iter().for_each(|key| hasher.input(&key.serialize()));
        let name = sha256::Hash::from_engine(hasher).to_byte_array();
        if self.well_signed.contains(&name) {
            return Ok(());
        }
        transaction.verify_signatures(keys)?;
        self.well_signed.insert(name, ());
        Ok(())
    }

    /// Runs one module call in the module's own key space and sorts its faults.
    fn call<T>(
        &self,
        writes: &mut WriteSet<'_>,
        instance: ModuleInstanceId,
        Run { facts, pass }: Run<'_>,
        call: impl FnOnce(
            &dyn moneta_module::erased::AnyServer,
            &mut Processing<'_>,
        ) -> Result<T, Fault<Vec<u8>>>,
    ) -> Result<Result<T, Vec<u8>>, Failure> {
        let module = self.module(instance).ok_or(Failure::Halt(Halt::Module {
            instance,
            broken: Broken::Invariant("the module vanished"),
        }))?;
        let mut scope = ScopedWrite::new(writes, tables::module_prefix(instance));
        match call(module, &mut Processing { state: &mut scope, facts, pass }) {
            Ok(effect) => Ok(Ok(effect)),
            Err(Fault::Refused(error)) => Ok(Err(error)),
            Err(Fault::Blocked(need)) => Err(Failure::Blocked(need)),
            Err(Fault::Broken(broken)) => Err(Failure::Halt(Halt::Module { instance, broken })),
        }
    }
}

fn of_unit(unit: moneta_core::AmountUnit, amount: moneta_core::Msat) -> Amounts {
    Amounts::new(unit, amount)
}
