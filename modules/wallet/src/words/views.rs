//! What endpoints show.
//!
//! Source: docs/protocol/wallet.md, sections 1.4 and 1.9.

use bitcoin::hashes::sha256;
use bitcoin::{Amount, OutPoint, ScriptBuf, Txid};
use moneta_core::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The one coin of the federation. Its hash tweaks the script of the change that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct FederationWallet {
    /// Its value.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
    /// Where it stands.
    pub outpoint: OutPoint,
    /// What its script is tweaked with.
    pub tweak: sha256::Hash,
}

/// One bitcoin transaction of the federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct TxInfo {
    /// Position in the log of transactions, from 0.
    pub index: u64,
    /// Its id.
    pub txid: Txid,
    /// The federation's money before it.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub input: Amount,
    /// The federation's money after it.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub output: Amount,
    /// What it pays to miners.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub fee: Amount,
    /// Its estimated size.
    pub vbytes: u64,
    /// Consensus block count when it was made.
    pub created: u64,
}

/// One entry of the log of outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputInfo {
    /// Position in the log. Entries that are no P2WSH are hidden, so positions have gaps.
    pub index: u64,
    /// Its script.
    pub script: ScriptBuf,
    /// Its value.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub value: Amount,
    /// Whether it is claimed.
    pub spent: bool,
    /// Where it stands on the chain; older guardians do not say.
    #[serde(default)]
    pub outpoint: Option<OutPoint>,
}
