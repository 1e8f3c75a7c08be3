//! The calls to the guardians.
//!
//! Source: docs/protocol/wallet.md, section 1.9.

use bitcoin::Amount;
use moneta_core::OutPoint;
use moneta_module::client::{Call, Strategy, Target};
use serde_json::{Value, json};

use crate::words::endpoint;

fn call(name: &'static str, params: Value, strategy: Strategy) -> Call {
    Call { target: Target::Module(name), params, strategy }
}

/// The on-chain fee of a withdrawal now. Read it with [`parse_fee`].
pub fn send_fee_call() -> Call {
    call(endpoint::SEND_FEE, Value::Null, Strategy::AgreeOnce)
}

/// The on-chain fee of a claim now. Read it with [`parse_fee`].
pub fn receive_fee_call() -> Call {
    call(endpoint::RECEIVE_FEE, Value::Null, Strategy::AgreeOnce)
}

/// Reads the answer to a question for a fee; `None` while guardians know no feerate.
pub fn parse_fee(answer: &Value) -> Option<Amount> {
    answer.as_u64().map(Amount::from_sat)
}

/// The feerate in sat/kvB, or null.
pub fn consensus_feerate_call() -> Call {
    call(endpoint::CONSENSUS_FEERATE, Value::Null, Strategy::Agree)
}

/// How many blocks the federation has scanned.
pub fn consensus_block_count_call() -> Call {
    call(endpoint::CONSENSUS_BLOCK_COUNT, Value::Null, Strategy::Agree)
}

/// The federation's coin as [`crate::words::FederationWallet`], or null.
pub fn federation_wallet_call() -> Call {
    call(endpoint::FEDERATION_WALLET, Value::Null, Strategy::Agree)
}

/// The federation's pending transactions.
pub(super) fn pending_chain_call() -> Call {
    call(endpoint::PENDING_TRANSACTION_CHAIN, Value::Null, Strategy::Agree)
}

/// The log of outputs at positions `start..end`.
pub(super) fn output_slice_call(start: u64, end: u64) -> Call {
    call(endpoint::OUTPUT_INFO_SLICE, json!([start, end]), Strategy::Agree)
}

/// The bitcoin transaction of an accepted withdrawal.
pub(super) fn transaction_id_call(out_point: OutPoint) -> Call {
    call(endpoint::TRANSACTION_ID, json!(out_point), Strategy::Agree)
}
