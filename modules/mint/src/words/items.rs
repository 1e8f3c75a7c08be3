//! Inputs, outputs and why they are refused.
//!
//! Source: docs/protocol/mint.md, sections 3.4 and 3.5.

use moneta_core::{Decode, Encode};
use moneta_crypto::tbs::BlindedMessage;
use serde::Serialize;

use super::{Denomination, Note, Tweak};

/// Spends a note. Open: unknown versions are kept, and refused when processed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub enum MintInput {
    /// The only version.
    V0(InputV0),
    /// A version this code does not know.
    #[codec(unknown)]
    #[serde(skip)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Version 0 of an input.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct InputV0 {
    /// What is spent.
    pub note: Note,
}

impl MintInput {
    /// Length of an input in the transaction, envelope and signature included, for instance ids
    /// of one byte; two bytes more for larger ones.
    pub const WIRE_BYTES: usize = 86 + 64;

    /// The input that spends `note`.
    #[must_use]
    pub fn new(note: Note) -> Self {
        Self::V0(InputV0 { note })
    }
}

/// Asks for a note. Open: unknown versions are kept, and refused when processed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub enum MintOutput {
    /// The only version.
    V0(OutputV0),
    /// A version this code does not know.
    #[codec(unknown)]
    #[serde(skip)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Version 0 of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct OutputV0 {
    /// What the note is worth.
    pub denomination: Denomination,
    /// What the guardians sign: the note's blinded message.
    #[serde(rename = "nonce")]
    pub blinded: BlindedMessage,
    /// From which the owner derives the note's keys again.
    pub tweak: Tweak,
}

impl MintOutput {
    /// Length of an output in the transaction, envelope included, for instance ids of one byte;
    /// two bytes more for larger ones.
    pub const WIRE_BYTES: usize = 69;
}

/// What became of an output: nothing, and it is never produced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct MintOutcome {}

/// What guardians propose to each other: nothing yet. Open, and every item is refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MintItem {
    /// An item of a version this code does not know.
    #[codec(unknown)]
    Unknown {
        /// The index on the wire.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Why an input is refused. Closed: existing wallets could not decode a new variant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum MintInputError {
    /// The input's version, which is named, is unknown.
    #[error("The mint input version is not supported by this federation")]
    UnknownInputVariant(u64),
    /// The nonce is in the spend book.
    #[error("The note is already spent")]
    SpentCoin,
    /// There is no key for the denomination.
    #[error("The note has an invalid amount not issued by the mint")]
    InvalidDenomination,
    /// The federation did not sign the note.
    #[error("The note has an invalid signature")]
    InvalidSignature,
}

/// Why an output is refused. Closed: existing wallets could not decode a new variant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum MintOutputError {
    /// The output's version, which is named, is unknown.
    #[error("The mint output version is not supported by this federation")]
    UnknownOutputVariant(u64),
    /// There is no key for the denomination.
    #[error("The note has an invalid amount not issued by the mint")]
    InvalidDenomination,
}
