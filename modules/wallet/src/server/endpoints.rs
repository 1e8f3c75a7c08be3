//! What clients may ask. All answers are functions of consensus state, since a threshold of
//! guardians must give the same one.
//!
//! Source: docs/protocol/wallet.md, section 1.9.

use bitcoin::{Amount, Txid};
use moneta_core::OutPoint;
use moneta_core::api::ApiError;
use moneta_module::server::Endpoint;
use moneta_store::{Order, Read, StoreError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::WalletServer;
use super::process::pending;
use super::tables::{OUTPUTS, SPENT, TX_LOG, WALLET, WITHDRAWALS};
use crate::words::{OutputInfo, TxInfo, endpoint as name};

/// All endpoints.
pub(super) const ENDPOINTS: [Endpoint; 9] = [
    Endpoint::public(name::CONSENSUS_BLOCK_COUNT),
    Endpoint::public(name::CONSENSUS_FEERATE),
    Endpoint::public(name::FEDERATION_WALLET),
    Endpoint::public(name::SEND_FEE),
    Endpoint::public(name::RECEIVE_FEE),
    Endpoint::public(name::TRANSACTION_ID),
    Endpoint::public(name::OUTPUT_INFO_SLICE).heavy(),
    Endpoint::public(name::PENDING_TRANSACTION_CHAIN),
    Endpoint::public(name::TRANSACTION_CHAIN).heavy(),
];

/// How many positions of the log one call looks at. Clients ask for 1000; ours looks further ahead
/// now and then, since a long run of hidden entries would otherwise look like the end.
const MAX_LOOKED_AT: u64 = 10_000;
/// How many entries one call shows. What is cut off are the last ones, so a client that goes on
/// behind the last entry misses nothing.
const MAX_SHOWN: usize = 1000;

impl WalletServer {
    /// Answers one call.
    pub(super) fn answer(
        &self,
        state: &dyn Read,
        endpoint: &str,
        params: &Value,
    ) -> Result<Value, ApiError> {
        let answer = match endpoint {
            name::CONSENSUS_BLOCK_COUNT => self.consensus_block_count(state).map(|n| json!(n)),
            name::CONSENSUS_FEERATE => self.consensus_feerate(state).map(|rate| json!(rate)),
            name::FEDERATION_WALLET => WALLET.get(state, &()).map(|wallet| json!(wallet)),
            name::SEND_FEE => self.send_fee(state).map(sat),
            name::RECEIVE_FEE => self.receive_fee(state).map(sat),
            name::TRANSACTION_ID => transaction_id(state, &parse(params)?).map(|id| json!(id)),
            name::OUTPUT_INFO_SLICE => {
                let (start, end) = parse(params)?;
                output_info_slice(state, start, end).map(|slice| json!(slice))
            }
            name::PENDING_TRANSACTION_CHAIN => pending_chain(state).map(|chain| json!(chain)),
            name::TRANSACTION_CHAIN => chain(state, Order::Ascending).map(|chain| json!(chain)),
            other => return Err(ApiError::not_found(other)),
        };
        answer.map_err(|error| ApiError::internal(error.to_string()))
    }
}

fn parse<T: DeserializeOwned>(params: &Value) -> Result<T, ApiError> {
    T::deserialize(params).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn sat(fee: Option<Amount>) -> Value {
    json!(fee.map(Amount::to_sat))
}

fn transaction_id(state: &dyn Read, out_point: &OutPoint) -> Result<Option<Txid>, StoreError> {
    let Some(index) = WITHDRAWALS.get(state, out_point)? else { return Ok(None) };
    Ok(TX_LOG.get(state, &index)?.map(|info| info.txid))
}

/// The P2WSH entries at positions `start..end`. Positions of other entries are left out.
fn output_info_slice(
    state: &dyn Read,
    start: u64,
    end: u64,
) -> Result<Vec<OutputInfo>, StoreError> {
    let end = end.min(start.saturating_add(MAX_LOOKED_AT));
    let mut shown = Vec::new();
    if start >= end {
        return Ok(shown);
    }
    for row in OUTPUTS.range(state, start..end, Order::Ascending) {
        let (index, logged) = row?;
        if !logged.output.script_pubkey.is_p2wsh() {
            continue;
        }
        if shown.len() == MAX_SHOWN {
            break;
        }
        shown.push(OutputInfo {
            index,
            script: logged.output.script_pubkey,
            value: logged.output.value,
            spent: SPENT.contains(state, &index)?,
            outpoint: Some(logged.outpoint),
        });
    }
    Ok(shown)
}

/// The log's entries of the transactions that are pending: they form the end of the chain.
fn pending_chain(state: &dyn Read) -> Result<Vec<TxInfo>, StoreError> {
    let count = usize::try_from(pending(state)?.count).unwrap_or(usize::MAX);
    let newest_first = TX_LOG.scan(state, Order::Descending);
    newest_first.take(count).map(|row| row.map(|(_, info)| info)).collect()
}

fn chain(state: &dyn Read, order: Order) -> Result<Vec<TxInfo>, StoreError> {
    TX_LOG.scan(state, order).map(|row| row.map(|(_, info)| info)).collect()
}
