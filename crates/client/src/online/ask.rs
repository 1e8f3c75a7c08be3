//! Questions to the guardians that no machine asks.

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

/// Why a question to the guardians has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Unavailable: too few guardians answered in time, or they did not agree.
    #[error("too few guardians gave the same answer")]
    NoAnswer,
    /// Refused: more guardians than can be faulty refuse to answer.
    #[error("guardians refuse to answer: {message} (code {code})")]
    Refused {
        /// Code of one refusal.
        code: i32,
        /// Its text.
        message: String,
    },
}

/// Asks all guardians until a threshold gives equal answers. `None` when they refuse, or at the
/// limit.
pub(super) async fn agree(
    transport: &Arc<dyn Transport>,
    size: FederationSize,
    method: &str,
    limit: Duration,
) -> Option<Value> {
    ask(transport, size, method, Value::Null, Strategy::Agree, limit).await.ok()
}

/// Asks all guardians until a threshold gives equal answers, or until the limit.
///
/// `strategy` is `Agree` or `AgreeOnce`: there is no machine here that could judge answers.
pub(super) async fn ask(
    transport: &Arc<dyn Transport>,
    size: FederationSize,
    method: &str,
    params: Value,
    strategy: Strategy,
    limit: Duration,
) -> Result<Value, AskError> {
    let mut query = Query::new(strategy, size, Pace::CALLS, 0);
    let mut calls = JoinSet::new();
    let asking = async {
        loop {
            for peer in query.ask(now()) {
                let call = transport.call(peer, method.to_owned(), params.clone());
                calls.spawn(async move { (peer, call.await) });
            }
            let pause = query.next_wakeup().map(|wakeup| wakeup.0.saturating_sub(now().0));
            let wakeup = Instant::now() + Duration::from_millis(pause.unwrap_or(60_000));
            tokio::select! {
                Some(Ok((peer, result))) = calls.join_next() => query.answer(peer, result, now()),
                () = sleep_until(wakeup) => {}
            }
            let unjudged = |_: &_| Err(AskError::NoAnswer);
            match query.outcome(now(), unjudged)? {
                Some(Outcome::Answer(answer)) => return Ok(answer),
                Some(Outcome::CallRefused { code, message }) => {
                    return Err(AskError::Refused { code, message });
                }
                Some(_) => return Err(AskError::NoAnswer),
                None => {}
            }
        }
    };
    tokio::time::timeout(limit, asking).await.unwrap_or(Err(AskError::NoAnswer))
}

/// Asks every guardian once and hands each answer to `take` as it comes, which tells whether it is
/// one. Returns as soon as there are `enough`, when all have answered, or at the limit.
pub(super) async fn gather(
    transport: &Arc<dyn Transport>,
    size: FederationSize,
    method: &str,
    enough: usize,
    limit: Duration,
    mut take: impl FnMut(PeerId, Value) -> bool,
) {
    let mut calls = JoinSet::new();
    for peer in size.peer_ids() {
        let call = transport.call(peer, method.to_owned(), Value::Null);
        calls.spawn(async move { (peer, call.await) });
    }
    let end = Instant::now() + limit;
    let mut taken = 0;
    while taken < enough {
        match timeout_at(end, calls.join_next()).await {
            Ok(Some(Ok((peer, Ok(answer))))) => taken += usize::from(take(peer, answer)),
            Ok(Some(Ok((peer, Err(failure))))) => log_failure(peer, method, &failure),
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
}

fn log_failure(peer: PeerId, method: &str, failure: &CallFailure) {
    tracing::debug!(target: "moneta::client", %peer, method, %failure, "no answer");
}
