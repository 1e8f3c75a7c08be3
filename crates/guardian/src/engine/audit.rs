//! The balance sheet: kept along the way, and checked against the modules' own books.

use moneta_core::{ModuleInstanceId, ModuleKind};
use moneta_store::{Read, StoreError, Write};

use super::{Engine, Halt, tables};

/// One line of the balance sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Which instance.
    pub instance: ModuleInstanceId,
    /// Its kind.
    pub kind: ModuleKind,
    /// Assets minus liabilities in msat.
    pub net_msat: i128,
}

impl Engine {
    /// The balance sheet, one line for every module.
    pub fn audit(&self, state: &dyn Read) -> Result<Vec<AuditLine>, StoreError> {
        self.modules()
            .map(|(instance, module)| {
                let net_msat = module.audit(&self.module_state(state, instance))?;
                Ok(AuditLine { instance, kind: module.kind(), net_msat })
            })
            .collect()
    }

    /// Compares every module's books with what was kept along the way. Done at every start and
    /// before every session header is signed.
    ///
    /// On the ordering path, and yet no stall however many notes were spent: modules answer from sums
    /// that they write with each change, `mint` one per denomination and `wallet` one in all. What is
    /// compared are two accounts of the same effects, one kept by the module and one by the engine.
    ///
    /// Errors: `Books` names the module, `Insolvent` tells by how much.
    pub fn check_books(&self, state: &dyn Read) -> Result<(), Halt> {
        for line in self.audit(state)? {
            let kept = net(state, line.instance)?;
            if kept != line.net_msat {
                return Err(Halt::Books { instance: line.instance, audited: line.net_msat, kept });
            }
        }
        self.check_solvency(state)
    }

    /// Errors with `Insolvent` if liabilities exceed assets over all modules.
    pub(super) fn check_solvency(&self, state: &dyn Read) -> Result<(), Halt> {
        let mut total = 0_i128;
        for (instance, _) in self.modules() {
            total = total.saturating_add(net(state, instance)?);
        }
        if total < 0 {
            return Err(Halt::Insolvent { missing_msat: -total });
        }
        Ok(())
    }

    /// Adds one effect to the kept sum of a module.
    pub(super) fn keep_net(
        &self,
        state: &mut dyn Write,
        instance: ModuleInstanceId,
        change_msat: i128,
    ) -> Result<(), StoreError> {
        if change_msat == 0 {
            return Ok(());
        }
        let sum = net(state, instance)?.saturating_add(change_msat);
        tables::NET.insert(state, &instance, &sum.to_be_bytes());
        Ok(())
    }
}

fn net(state: &dyn Read, instance: ModuleInstanceId) -> Result<i128, StoreError> {
    Ok(tables::NET.get(state, &instance)?.map_or(0, i128::from_be_bytes))
}
