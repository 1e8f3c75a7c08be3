//! Questions to the guardians that no machine asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moneta_core::id::PeerId;
use moneta_core::peers::FederationSize;
use moneta_module::client::{Outcome, Strategy};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Transport, now};
use crate::query::{CallFailure, Pace, Query};

/// Asks all guardians until a threshold gives equal answers. `None` when they refuse, or at the
/// limit.
pub(super) async fn agree(
    transport: &Arc<dyn Transport>,
    size: FederationSize,
    method: &str,
    limit: Duration,
) -> Option<Value> {
    let mut query = Query::new(Strategy::Agree, size, Pace::CALLS, 0);
    let mut calls = JoinSet::new();
    let asking = async {
        loop {
            for peer in query.ask(now()) {
                let call = transport.call(peer, method.to_owned(), Value::Null);
                calls.spawn(async move { (peer, call.await) });
            }
            let pause = query.next_wakeup().map(|wakeup| wakeup.0.saturating_sub(now().0));
            let wakeup = Instant::now() + Duration::from_millis(pause.unwrap_or(60_000));
            tokio::select! {
                Some(Ok((peer, result))) = calls.join_next() => query.answer(peer, result, now()),
                () = sleep_until(wakeup) => {}
            }
            let unjudged = |_: &_| Err(());
            match query.outcome(now(), unjudged) {
                Ok(Some(Outcome::Answer(answer))) => return Some(answer),
                Ok(Some(_)) | Err(()) => return None,
                Ok(None) => {}
            }
        }
    };
    tokio::time::timeout(limit, asking).await.ok().flatten()
}

/// Asks every guardian once. Returns the answers as soon as there are `enough`, or those that came
/// by the limit.
pub(super) async fn gather(
    transport: &Arc<dyn Transport>,
    size: FederationSize,
    method: &str,
    enough: usize,
    limit: Duration,
) -> BTreeMap<PeerId, Value> {
    let mut calls = JoinSet::new();
    for peer in size.peer_ids() {
        let call = transport.call(peer, method.to_owned(), Value::Null);
        calls.spawn(async move { (peer, call.await) });
    }
    let end = Instant::now() + limit;
    let mut answers = BTreeMap::new();
    while answers.len() < enough {
        match timeout_at(end, calls.join_next()).await {
            Ok(Some(Ok((peer, Ok(answer))))) => {
                answers.insert(peer, answer);
            }
            Ok(Some(Ok((peer, Err(failure))))) => log_failure(peer, method, &failure),
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    answers
}

fn log_failure(peer: PeerId, method: &str, failure: &CallFailure) {
    tracing::debug!(target: "moneta::client", %peer, method, %failure, "no answer");
}
