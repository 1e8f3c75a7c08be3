//! Sessions: how many, and what is in them.
//!
//! Source: docs/protocol/core.md, sections 4.3 and 8.1.

use std::sync::Arc;

use moneta_core::api::endpoint;
use moneta_core::{
    ApiError, ApiRequest, MeBase64, MeHex, SessionIndex, SessionStatus, SignedSessionOutcome,
};
use moneta_net::api::to_result;
use tokio::time::Instant;

use super::gate::Gate;
use super::{Answer, LONG_POLL, Node, answer, store_failed, wait};

pub(super) async fn call(
    node: &Arc<Node>,
    gate: &Gate,
    method: &str,
    request: &ApiRequest,
) -> Answer {
    match method {
        endpoint::SESSION_COUNT => answer(request, || node.session_count().map_err(store_failed)),
        endpoint::AWAIT_SESSION_OUTCOME => {
            let session = request.parse_params()?;
            is_signed(node, session).await?;
            gate.run(|| to_result(&MeHex(signed(node, session)?.session_outcome))).await
        }
        endpoint::AWAIT_SIGNED_SESSION_OUTCOME => {
            let session = request.parse_params()?;
            is_signed(node, session).await?;
            gate.run(|| to_result(&MeHex(signed(node, session)?))).await
        }
        endpoint::SESSION_STATUS => {
            let session = request.parse_params()?;
            gate.run(|| to_result(&MeHex(SessionStatus::from(status(node, session)?)))).await
        }
        _ => {
            let session = request.parse_params()?;
            gate.run(|| to_result(&MeBase64(status(node, session)?))).await
        }
    }
}

fn status(node: &Node, session: SessionIndex) -> Result<moneta_core::SessionStatusV2, ApiError> {
    node.engine.session_status(&node.store.snapshot(), session).map_err(store_failed)
}

/// Waits until the session is signed.
async fn is_signed(node: &Node, session: SessionIndex) -> Result<(), ApiError> {
    let deadline = Instant::now() + LONG_POLL;
    loop {
        let mut waiter = node.waiters.register(node.engine.signed_session_key(session));
        if node.session_count().map_err(store_failed)? > session {
            return Ok(());
        }
        wait(&mut waiter, deadline).await?;
    }
}

fn signed(node: &Node, session: SessionIndex) -> Result<SignedSessionOutcome, ApiError> {
    let found = node.engine.signed_session(&node.store.snapshot(), session);
    found.map_err(store_failed)?.ok_or_else(|| ApiError::internal("The session has gone"))
}
