//! The funding rule: inputs must pay for outputs and fees, unit by unit.
//!
//! Source: docs/protocol/core.md, section 3.4, step 5.

use std::collections::BTreeSet;

use super::TransactionError;
use crate::{Amounts, CoreConsensusVersion, Msat};

/// The sums of a transaction while its inputs and outputs are processed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    inputs: Amounts,
    outputs: Amounts,
    fees: Amounts,
}

impl Tally {
    /// Adds one input. Units: per unit, in its thousandths.
    ///
    /// Errors: [`TransactionError::OVERFLOW`]; the tally is then of no further use.
    pub fn add_input(&mut self, amounts: &Amounts, fees: &Amounts) -> Result<(), TransactionError> {
        add_all(&mut self.inputs, amounts)?;
        add_all(&mut self.fees, fees)
    }

    /// Adds one output, as [`Tally::add_input`].
    pub fn add_output(
        &mut self,
        amounts: &Amounts,
        fees: &Amounts,
    ) -> Result<(), TransactionError> {
        add_all(&mut self.outputs, amounts)?;
        add_all(&mut self.fees, fees)
    }

    /// Applies the funding rule, see [`check`].
    pub fn check(&self, version: CoreConsensusVersion) -> Result<(), TransactionError> {
        check(&self.inputs, &self.outputs, &self.fees, version)
    }
}

fn add_all(sum: &mut Amounts, more: &Amounts) -> Result<(), TransactionError> {
    let so_far = std::mem::take(sum);
    *sum = so_far.checked_add_all(more).ok_or(TransactionError::OVERFLOW)?;
    Ok(())
}

/// Checks that `inputs` pay for `outputs` and `fees`.
///
/// Before core consensus 2.1 they must match exactly, from 2.1 on a surplus is accepted and kept
/// by the federation.
///
/// Errors: `UnbalancedTransaction` with the sums of the first unit, ascending, that breaks the
/// rule (units which only inputs hold come last), or [`TransactionError::OVERFLOW`].
pub fn check(
    inputs: &Amounts,
    outputs: &Amounts,
    fees: &Amounts,
    version: CoreConsensusVersion,
) -> Result<(), TransactionError> {
    let exact = !version.allows_overpayment();
    let paid: BTreeSet<_> = outputs.units().chain(fees.units()).collect();
    for unit in &paid {
        let (have, spent, fee) = (inputs.get(*unit), outputs.get(*unit), fees.get(*unit));
        let required = spent.checked_add(fee).ok_or(TransactionError::OVERFLOW)?;
        if have < required || (exact && have != required) {
            return Err(TransactionError::UnbalancedTransaction {
                inputs: have,
                outputs: spent,
                fee,
            });
        }
    }
    let left_over = inputs.iter().find(|(unit, _)| !paid.contains(unit));
    match left_over {
        Some((_, surplus)) if exact => Err(TransactionError::UnbalancedTransaction {
            inputs: surplus,
            outputs: Msat::ZERO,
            fee: Msat::ZERO,
        }),
        _ => Ok(()),
    }
}
