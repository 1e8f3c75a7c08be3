//! Transactions: submitting, waiting, outcomes.
//!
//! Source: docs/protocol/core.md, section 8.1.

use std::sync::Arc;

use moneta_core::api::endpoint;
use moneta_core::{
    ApiError, ApiRequest, ConsensusItem, Encode, MeHex, OutPoint, OutPointRange,
    OutputOutcomeEnvelope, SubmissionOutcome, Transaction, TransactionId,
};
use moneta_net::api::to_result;
use tokio::time::Instant;
use tracing::{debug, error};

use super::{Answer, LONG_POLL, Node, store_failed, wait};
use crate::engine::SubmissionError;

/// Most outputs asked for at once (protocol limit).
const MAX_OUTCOMES: u64 = 1024;

pub(super) async fn call(node: &Arc<Node>, method: &str, request: &ApiRequest) -> Answer {
    match method {
        endpoint::SUBMIT_TRANSACTION => {
            let MeHex(transaction) = request.parse_params()?;
            to_result(&MeHex(submit(node, Arc::new(transaction)).await?))
        }
        endpoint::AWAIT_TRANSACTION => {
            let txid: TransactionId = request.parse_params()?;
            accepted(node, txid).await?;
            to_result(&txid)
        }
        endpoint::AWAIT_OUTPUT_OUTCOME => {
            let out_point: OutPoint = request.parse_params()?;
            accepted(node, out_point.txid).await?;
            let outcome = outcome(node, out_point)?;
            to_result(
                &outcome.ok_or_else(|| ApiError::bad_request("No output outcome for outpoint"))?,
            )
        }
        _ => {
            let range: OutPointRange = request.parse_params()?;
            let (start, end) = (range.idx_range.start, range.idx_range.end);
            if start > end || end - start > MAX_OUTCOMES {
                let message = format!("The range must ascend and hold at most {MAX_OUTCOMES}");
                return Err(ApiError::bad_request(message));
            }
            accepted(node, range.txid).await?;
            let outcomes: Result<Vec<_>, ApiError> =
                range.iter().map(|out_point| outcome(node, out_point)).collect();
            to_result(&outcomes?)
        }
    }
}

/// What a guardian says that may not speak in consensus yet.
const IN_DOUBT: &str = "This guardian was restored and takes no transactions before it takes part \
    again; ask another one";

/// Submits, and keeps at it until the transaction is accepted or cannot be any more.
async fn submit(
    node: &Arc<Node>,
    transaction: Arc<Transaction>,
) -> Result<SubmissionOutcome, ApiError> {
    // Legal in consensus (core.md 3.2), but free, and kept by everybody for ever.
    if transaction.inputs.is_empty() && transaction.outputs.is_empty() {
        return Err(ApiError::bad_request("The transaction is empty"));
    }
    let txid = transaction.txid();
    let deadline = Instant::now() + LONG_POLL;
    loop {
        let mut waiter = node.waiters.register(node.engine.accepted_key(txid));
        if node.engine.is_accepted(&node.store.snapshot(), txid).map_err(store_failed)? {
            return Ok(SubmissionOutcome(Ok(txid)));
        }
        let verdict = node.submissions.check(transaction.clone()).await;
        match verdict.ok_or_else(|| ApiError::internal("this guardian stops"))? {
            Ok(SubmissionOutcome(Ok(_))) => {}
            Ok(refused) => return Ok(refused),
            Err(SubmissionError::Halt(halt)) => {
                error!(target: "moneta::node", %halt, "a submission met an impossible state");
                return Err(ApiError::internal("this guardian's state is damaged"));
            }
            Err(unavailable @ (SubmissionError::NotNow | SubmissionError::Behind { .. })) => {
                debug!(target: "moneta::node", %txid, ?unavailable, "a submission is not judged");
                return Err(ApiError::internal(unavailable));
            }
            Err(bad) => return Err(ApiError::bad_request(bad)),
        }
        let Some(broadcast) = node.broadcast() else {
            return Err(ApiError::internal(IN_DOUBT));
        };
        if node.queued.insert(txid) {
            let item = ConsensusItem::Transaction(Transaction::clone(&transaction)).to_bytes();
            if let Err(error) = broadcast.relay(item) {
                node.queued.remove(&txid);
                debug!(target: "moneta::node", %txid, %error, "transaction not queued");
                return Err(ApiError::internal(error));
            }
        }
        // Woken when it was accepted, or was refused in its turn; then it is judged anew.
        wait(&mut waiter, deadline).await?;
    }
}

async fn accepted(node: &Node, txid: TransactionId) -> Result<(), ApiError> {
    let deadline = Instant::now() + LONG_POLL;
    loop {
        let mut waiter = node.waiters.register(node.engine.accepted_key(txid));
        if node.engine.is_accepted(&node.store.snapshot(), txid).map_err(store_failed)? {
            return Ok(());
        }
        wait(&mut waiter, deadline).await?;
    }
}

fn outcome(
    node: &Node,
    out_point: OutPoint,
) -> Result<Option<MeHex<OutputOutcomeEnvelope>>, ApiError> {
    let found = node.engine.output_outcome(&node.store.snapshot(), out_point);
    match found.map_err(store_failed)? {
        None => Err(ApiError::bad_request("The transaction has no such output")),
        Some((_, None)) => Ok(None),
        Some((instance, Some(bytes))) => {
            Ok(Some(MeHex(OutputOutcomeEnvelope::from_raw(instance, bytes))))
        }
    }
}
