//! Why inputs and outputs are refused. These travel to the client; indices and texts are
//! protocol, and both enums are closed.
//!
//! Source: docs/protocol/wallet.md, sections 1.5 and 1.6.

use moneta_core::{Decode, Encode};

/// Why a claim is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum WalletInputError {
    /// The input is of a later protocol.
    #[error("The wallet input version is not supported by this federation")]
    UnknownInputVariant {
        /// Its variant index.
        variant: u64,
    },
    /// The output of this index is claimed.
    #[error("The output has already been claimed")]
    OutputAlreadySpent,
    /// The log has no output of this index.
    #[error("Unknown output index")]
    UnknownOutputIndex,
    /// The output pays another key.
    #[error("The tweak does not match the output script")]
    WrongTweak,
    /// Too few guardians know a feerate.
    #[error("No up to date feerate is available at the moment. Please try again later.")]
    NoConsensusFeerateAvailable,
    /// The fee is below what the federation requires now.
    #[error("The total transaction fee is too low. Please construct a new transaction.")]
    InsufficientTotalFee,
    /// The fee is above the deposit, or an amount is out of range.
    #[error("Constructing the pegin transaction caused an arithmetic overflow")]
    ArithmeticOverflow,
}

/// Why a withdrawal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum WalletOutputError {
    /// The output is of a later protocol.
    #[error("The wallet output version is not supported by this federation")]
    UnknownOutputVariant {
        /// Its variant index.
        variant: u64,
    },
    /// Less than the dust limit.
    #[error("The output value is below the dust limit.")]
    UnderDustLimit,
    /// Nothing was deposited yet.
    #[error("The federation does not have any funds yet")]
    NoFederationUTXO,
    /// Too few guardians know a feerate.
    #[error("No up to date feerate is available at the moment. Please try again later.")]
    NoConsensusFeerateAvailable,
    /// The fee is below what the federation requires now.
    #[error("The total transaction fee is too low. Please construct a new transaction.")]
    InsufficientTotalFee,
    /// The federation would keep less than the dust limit.
    #[error("The change value is below the dust limit.")]
    ChangeUnderDustLimit,
    /// The federation holds less than this, or an amount is out of range.
    #[error("Constructing the pegout transaction caused an arithmetic overflow")]
    ArithmeticOverflow,
    /// The destination is of a later protocol.
    #[error("Unknown script variant")]
    UnknownScriptVariant,
}
