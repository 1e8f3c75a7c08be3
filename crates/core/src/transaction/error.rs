//! Why a transaction is refused, as all guardians of a federation say it in the same bytes.
//!
//! Source: docs/protocol/core.md, section 3.5.

use crate::{Decode, Encode, InputErrorEnvelope, Msat, OutputErrorEnvelope, TransactionId};

/// Why a transaction was refused.
///
/// Part of the protocol: a closed enum with fixed bytes, compared byte by byte between guardians.
/// The `Display` form shows module errors as bare bytes; [`TransactionError::to_text`] gives the
/// text clients print.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum TransactionError {
    /// The inputs of one unit do not pay for its outputs and fees. All three amounts are zero if
    /// a sum overflowed.
    #[error("The transaction is unbalanced (in={inputs}, out={outputs}, fee={fee})")]
    UnbalancedTransaction {
        /// Sum of the inputs.
        inputs: Msat,
        /// Sum of the outputs.
        outputs: Msat,
        /// Sum of the fees.
        fee: Msat,
    },
    /// A signature is wrong. All four are hex.
    #[error("The transaction's signature is invalid: tx={tx}, hash={hash}, sig={sig}, key={key}")]
    InvalidSignature {
        /// The encoded transaction.
        tx: String,
        /// Its id.
        hash: String,
        /// The signature.
        sig: String,
        /// The compressed key it does not belong to.
        key: String,
    },
    /// The signature field holds a scheme the guardian does not know.
    #[error("The transaction's signature scheme is not supported: variant={variant}")]
    UnsupportedSignatureScheme {
        /// Its index.
        variant: u64,
    },
    /// The number of signatures is wrong, or the stateless check of any input failed (core.md
    /// 3.4, step 1).
    #[error("The transaction did not have the correct number of signatures")]
    InvalidWitnessLength,
    /// A module refused an input.
    #[error("The transaction had an invalid input: {0:?}")]
    Input(InputErrorEnvelope),
    /// A module refused an output.
    #[error("The transaction had an invalid output: {0:?}")]
    Output(OutputErrorEnvelope),
}

/// The module error inside a [`TransactionError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleFailure<'a> {
    /// From [`TransactionError::Input`].
    Input(&'a InputErrorEnvelope),
    /// From [`TransactionError::Output`].
    Output(&'a OutputErrorEnvelope),
}

impl TransactionError {
    /// What is reported when a sum of amounts overflows.
    pub const OVERFLOW: Self =
        Self::UnbalancedTransaction { inputs: Msat::ZERO, outputs: Msat::ZERO, fee: Msat::ZERO };

    /// Returns the text clients print; `module_text` words the module's own error.
    pub fn to_text(&self, module_text: impl FnOnce(ModuleFailure<'_>) -> String) -> String {
        match self {
            Self::Input(error) => format!(
                "The transaction had an invalid input: {}-{}",
                error.instance,
                module_text(ModuleFailure::Input(error))
            ),
            Self::Output(error) => format!(
                "The transaction had an invalid output: {}-{}",
                error.instance,
                module_text(ModuleFailure::Output(error))
            ),
            other => other.to_string(),
        }
    }
}

/// The answer to a submitted transaction. `Ok` does not mean accepted: clients confirm with
/// `await_transaction`.
///
/// Shape: `01 || txid` or `00 || error`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SubmissionOutcome(pub Result<TransactionId, TransactionError>);
