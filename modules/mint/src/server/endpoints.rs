//! What a guardian's mint answers.
//!
//! Every list is bounded: a wallet asks for at most 10,000 items of the log, and a transaction has
//! under 1000 outputs. Shares and slices are served from stored bytes.
//!
//! Source: docs/protocol/mint.md, section 3.7.

use moneta_core::api::ApiError;
use moneta_core::{OutPoint, OutPointRange, TextError};
use moneta_module::server::{Endpoint, Reply, View};
use moneta_store::{Order, Read, StoreError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::slices::Slices;
use super::tables::{FIRST_SHARE, PointBytes, SHARE_AT, recovery_count};
use crate::words::{MAX_SLICE_ITEMS, SliceRange};

/// The endpoints.
pub(super) const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::public("signature_shares"),
    Endpoint::public("recovery_signature_shares"),
    Endpoint::public("recovery_count"),
    Endpoint::public("recovery_slice").heavy(),
    Endpoint::public("recovery_slice_hash").heavy(),
];

/// The most shares in one answer: far above what one transaction can have.
const MAX_SHARES: u64 = 10_000;

/// Answers one call.
pub(super) fn call(
    view: &View<'_>,
    endpoint: &str,
    params: &Value,
    slices: &Slices,
) -> Result<Reply, ApiError> {
    let state = view.state;
    match endpoint {
        "signature_shares" => signature_shares(state, parse(params)?),
        "recovery_signature_shares" => recovery_signature_shares(state, &parse::<Vec<_>>(params)?),
        "recovery_count" => {
            parse::<()>(params)?;
            Ok(Reply::Value(json!(recovery_count(state).map_err(store_failed)?)))
        }
        "recovery_slice" => {
            let range = existing(state, parse(params)?)?;
            Ok(Reply::Json(slices.json(state, range)?))
        }
        "recovery_slice_hash" => {
            let range = existing(state, parse(params)?)?;
            let hash = slices.hash(state, range).map_err(store_failed)?;
            Ok(Reply::Value(json!(hash)))
        }
        other => Err(ApiError::not_found(other)),
    }
}

/// All outputs of a transaction become visible at once, so the last one stands for all.
fn signature_shares(state: &dyn Read, range: OutPointRange) -> Result<Reply, ApiError> {
    let count = range.idx_range.count();
    if count == 0 {
        return Ok(Reply::Json("[]".to_owned()));
    }
    check_count(count, MAX_SHARES)?;
    let at = |out_idx| OutPoint { txid: range.txid, out_idx };
    let (first, last) = (at(range.idx_range.start), at(range.idx_range.end - 1));
    if !SHARE_AT.contains(state, &last).map_err(store_failed)? {
        return Ok(Reply::WaitFor(SHARE_AT.key(&last)));
    }
    let rows = SHARE_AT.range(state, first..=last, Order::Ascending);
    let shares: Result<Vec<PointBytes>, _> = rows.map(|row| row.map(|(_, share)| share)).collect();
    Ok(Reply::Json(hex_list(&shares.map_err(store_failed)?)))
}

fn recovery_signature_shares(state: &dyn Read, messages: &[String]) -> Result<Reply, ApiError> {
    check_count(messages.len() as u64, MAX_SHARES)?;
    let mut shares = Vec::with_capacity(messages.len());
    for message in messages {
        let mut bytes: PointBytes = [0; 48];
        hex::decode_to_slice(message, &mut bytes)
            .map_err(|_| ApiError::bad_request(TextError::Hex))?;
        let share = FIRST_SHARE.get(state, &bytes).map_err(store_failed)?;
        shares.push(share.ok_or_else(|| ApiError::bad_request(NO_SHARE))?);
    }
    Ok(Reply::Json(hex_list(&shares)))
}

/// The text is protocol.
const NO_SHARE: &str = "No blinded signature share found";

/// The part of `range` that lies in the log.
fn existing(state: &dyn Read, SliceRange(start, end): SliceRange) -> Result<SliceRange, ApiError> {
    let count = recovery_count(state).map_err(store_failed)?;
    let end = end.min(count);
    let start = start.min(end);
    check_count(end - start, MAX_SLICE_ITEMS)?;
    Ok(SliceRange(start, end))
}

/// A JSON array of hex strings.
fn hex_list(points: &[PointBytes]) -> String {
    let mut json = String::with_capacity(2 + points.len() * (2 * 48 + 3));
    json.push('[');
    for (index, point) in points.iter().enumerate() {
        json.push_str(if index == 0 { "\"" } else { ",\"" });
        json.push_str(&hex::encode(point));
        json.push('"');
    }
    json.push(']');
    json
}

fn check_count(count: u64, limit: u64) -> Result<(), ApiError> {
    if count > limit {
        return Err(ApiError::bad_request(format!("{count} items, at most {limit} at a time")));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(params: &Value) -> Result<T, ApiError> {
    T::deserialize(params).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn store_failed(error: StoreError) -> ApiError {
    ApiError::internal(error.to_string())
}
