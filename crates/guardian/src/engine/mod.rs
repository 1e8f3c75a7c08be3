//! The engine: what a federation's state is, as a function of the ordered log.
//!
//! A plain value without clock, randomness or I/O. It is given a view of the store and one thing
//! that consensus ordered, and returns what to write. The node around it ([`crate::node`]) fetches
//! what the engine asks for, commits, and answers callers.
//!
//! ```text
//! ordered unit -> decode (all or nothing) -> per item, in order:
//!     transaction: inputs, signatures, outputs, funding   all or nothing
//!     module item: the module's own rule                  all or nothing
//! accepted items are appended to the running session; refused ones leave no trace
//! items for which the session has no room are postponed, unjudged, and leave no trace either
//! ```
//!
//! Invariants. The writes of one unit, its place in the session included, are one commit: after a
//! crash a unit was either processed or not. Module assets never fall below liabilities; if they
//! would, or if a module's books do not match what it reported, the engine answers [`Halt`] and
//! the guardian stops before it signs anything.
//!
//! Source: docs/protocol/core.md, sections 3.4 and 4.

mod audit;
mod history;
mod replay;
mod submission;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;
mod unit;

pub use audit::AuditLine;
pub use history::SESSION_LIMIT_BYTES;
pub use replay::{Replay, ReplayError};
pub use submission::{SubmissionError, Verdict};
pub use unit::{Processed, Unit, UnitError};

use std::collections::BTreeMap;
use std::thread;

use moneta_core::{
    CoreConsensusVersion, FederationSize, ModuleInstanceId, OutPoint, PeerId, TransactionId,
};
use moneta_module::cache::Cache;
use moneta_module::erased::AnyServer;
use moneta_module::server::{Broken, ChainStatus, Need};
use moneta_store::{Read, ScopedRead, StoreError};

/// The module instances of a federation, and what the engine must know of the federation.
pub struct Engine {
    modules: BTreeMap<ModuleInstanceId, Box<dyn AnyServer>>,
    size: FederationSize,
    version: CoreConsensusVersion,
    /// How many threads decode history. No result depends on it.
    workers: usize,
    /// Transactions whose signatures were found good, by a hash of all that it depends on.
    well_signed: Cache<[u8; 32], ()>,
}

/// Transactions remembered from their submission to their turn; a queue of small ones, 32 bytes each.
const WELL_SIGNED_MAX: usize = 4096;

/// An output's module instance, and its encoded outcome if the module keeps one.
pub type KeptOutcome = (ModuleInstanceId, Option<Vec<u8>>);

/// Why the engine stopped in the middle of something. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// Not yet: run it again with this fetched.
    #[error("outside data is missing: {0:?}")]
    Blocked(Need),
    /// Broken: the guardian must halt.
    #[error(transparent)]
    Halt(#[from] Halt),
}

/// The guardian's own state is impossible. It must halt before it signs anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// A module found its state impossible.
    #[error("module {instance} cannot go on: {broken}")]
    Module {
        /// Which instance.
        instance: ModuleInstanceId,
        /// What it found.
        broken: Broken,
    },
    /// The federation would owe more than it holds.
    #[error("liabilities would exceed assets by {missing_msat} msat")]
    Insolvent {
        /// By how much.
        missing_msat: i128,
    },
    /// A module's books do not match the effects it reported.
    #[error("the books of module {instance} say {audited} msat, its effects add up to {kept} msat")]
    Books {
        /// Which instance.
        instance: ModuleInstanceId,
        /// What the module counted.
        audited: i128,
        /// What was kept along the way.
        kept: i128,
    },
    /// What the guardians signed differs from what this guardian processed.
    #[error("session {session} as signed by the guardians differs from this guardian's own")]
    Fork {
        /// Which session.
        session: moneta_core::SessionIndex,
    },
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Halt(Halt::Store(error))
    }
}

impl Engine {
    /// An engine for these modules.
    pub fn new(
        modules: BTreeMap<ModuleInstanceId, Box<dyn AnyServer>>,
        size: FederationSize,
        version: CoreConsensusVersion,
    ) -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Self { modules, size, version, workers, well_signed: Cache::new(WELL_SIGNED_MAX) }
    }

    /// The instances, by id.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleInstanceId, &dyn AnyServer)> {
        self.modules.iter().map(|(instance, module)| (*instance, module.as_ref()))
    }

    /// One instance.
    pub fn module(&self, instance: ModuleInstanceId) -> Option<&dyn AnyServer> {
        self.modules.get(&instance).map(AsRef::as_ref)
    }

    /// How many guardians there are.
    pub fn size(&self) -> FederationSize {
        self.size
    }

    /// The keys of one module instance.
    pub fn module_state<'a>(
        &self,
        state: &'a dyn Read,
        instance: ModuleInstanceId,
    ) -> ScopedRead<'a> {
        ScopedRead::new(state, tables::module_prefix(instance))
    }

    /// The key in the guardian's store of `key` in the space of a module instance.
    pub fn module_key(&self, instance: ModuleInstanceId, key: &[u8]) -> Vec<u8> {
        let mut full = tables::module_prefix(instance);
        full.extend_from_slice(key);
        full
    }

    /// What this guardian wants ordered now, encoded as consensus items.
    pub fn proposals(
        &self,
        state: &dyn Read,
        chain: Option<&ChainStatus>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut items = Vec::new();
        for (instance, module) in &self.modules {
            let scope = self.module_state(state, *instance);
            for bytes in module.proposals(&scope, chain)? {
                items.push(unit::module_item_bytes(*instance, bytes));
            }
        }
        Ok(items)
    }

    /// All bitcoin transactions that should reach the network.
    pub fn broadcasts(&self, state: &dyn Read) -> Result<Vec<bitcoin::Transaction>, StoreError> {
        let mut transactions = Vec::new();
        for (instance, module) in &self.modules {
            transactions.extend(module.broadcasts(&self.module_state(state, *instance))?);
        }
        Ok(transactions)
    }

    /// Whether a transaction was accepted, ever.
    pub fn is_accepted(&self, state: &dyn Read, txid: TransactionId) -> Result<bool, StoreError> {
        Ok(tables::ACCEPTED.get(state, &txid)?.is_some())
    }

    /// The key in the guardian's store that appears when the transaction is accepted.
    pub fn accepted_key(&self, txid: TransactionId) -> Vec<u8> {
        tables::ACCEPTED.key(&txid)
    }

    /// The instance and outcome of an output of an accepted transaction: outer `None` when the
    /// transaction has no such output, inner `None` when its module keeps no outcome.
    pub fn output_outcome(
        &self,
        state: &dyn Read,
        out_point: OutPoint,
    ) -> Result<Option<KeptOutcome>, StoreError> {
        let Some(instances) = tables::ACCEPTED.get(state, &out_point.txid)? else {
            return Ok(None);
        };
        let index = usize::try_from(out_point.out_idx).unwrap_or(usize::MAX);
        let Some(instance) = instances.get(index).copied() else { return Ok(None) };
        let Some(module) = self.modules.get(&instance) else { return Ok(None) };
        let outcome = module.output_outcome(&self.module_state(state, instance), out_point)?;
        Ok(Some((instance, outcome)))
    }

    /// How many outputs an accepted transaction has, `None` if it is not accepted.
    pub fn output_count(
        &self,
        state: &dyn Read,
        txid: TransactionId,
    ) -> Result<Option<usize>, StoreError> {
        Ok(tables::ACCEPTED.get(state, &txid)?.map(|instances| instances.len()))
    }

    /// Who contributed to which session last.
    pub fn last_contribution(
        &self,
        state: &dyn Read,
        peer: PeerId,
    ) -> Result<Option<moneta_core::SessionIndex>, StoreError> {
        tables::LAST_CONTRIBUTION.get(state, &peer)
    }
}
