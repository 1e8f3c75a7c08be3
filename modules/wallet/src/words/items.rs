//! Inputs, outputs and what guardians propose to each other.
//!
//! Source: docs/protocol/wallet.md, sections 1.5 to 1.7.

use bitcoin::secp256k1::{PublicKey, ecdsa};
use bitcoin::{Amount, Txid};
use moneta_core::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::StandardScript;

/// Claims a deposit. An open enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum WalletInput {
    /// The only form so far.
    V0(WalletInputV0),
    /// A form of a later protocol; refused.
    #[codec(unknown)]
    #[serde(rename = "Default")]
    Unknown {
        /// Its index.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Claims one logged output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct WalletInputV0 {
    /// Position in the log of outputs.
    pub output_index: u64,
    /// The claim key, whose hash tweaked the address; it signs the transaction.
    pub tweak: PublicKey,
    /// The on-chain fee that the deposit pays for its sweep.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
}

/// Withdraws to an address. An open enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum WalletOutput {
    /// The only form so far.
    V0(WalletOutputV0),
    /// A form of a later protocol; refused.
    #[codec(unknown)]
    #[serde(rename = "Default")]
    Unknown {
        /// Its index.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}

/// Pays one script on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct WalletOutputV0 {
    /// Who is paid. It names no network: the client checks that.
    pub destination: StandardScript,
    /// What the recipient gets.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
    /// The on-chain fee on top.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
}

/// What a guardian proposes. An open enum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum WalletItem {
    /// A vote for the number of blocks that count as buried.
    BlockCount(u64),
    /// A vote for the feerate in sat/kvB, or that none is known.
    Feerate(Option<u64>),
    /// One signature per input of an unsigned transaction.
    Signatures(Txid, Vec<ecdsa::Signature>),
    /// A proposal of a later protocol; refused.
    #[codec(unknown)]
    #[serde(rename = "Default")]
    Unknown {
        /// Its index.
        variant: u64,
        /// Its payload.
        bytes: Vec<u8>,
    },
}
