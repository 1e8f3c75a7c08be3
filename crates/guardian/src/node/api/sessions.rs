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

use super::{Answer, LONG_POLL, Node, answer, store_failed, wait};

pub(super) async fn call(node: &Arc<Node>, method: &str, request: &ApiRequest) -> Answer {
    match method {
        endpoint::SESSION_COUNT => answer(request, || node.session_count().map_err(store_failed)),
        endpoint::AWAIT_SESSION_OUTCOME => {
            let signed = signed(node, request.parse_params()?).await?;
            to_result(&MeHex(signed.session_outcome))
        }
        endpoint::AWAIT_SIGNED_SESSION_OUTCOME => {
            to_result(&MeHex(signed(node, request.parse_params()?).await?))
        }
        endpoint::SESSION_STATUS => {
            to_result(&MeHex(SessionStatus::from(status(node, request.parse_params()?)?)))
        }
        _ => to_result(&MeBase64(status(node, request.parse_params()?)?)),
    }
}

fn status(node: &Node, session: SessionIndex) -> Result<moneta_core::SessionStatusV2, ApiError> {
    node.engine.session_status(&node.store.snapshot(), session).map_err(store_failed)
}

async fn signed(node: &Node, session: SessionIndex) -> Result<SignedSessionOutcome, ApiError> {
    let deadline = Instant::now() + LONG_POLL;
    loop {
        let mut waiter = node.waiters.register(node.engine.signed_session_key(session));
        let found = node.engine.signed_session(&node.store.snapshot(), session);
        if let Some(signed) = found.map_err(store_failed)? {
            return Ok(signed);
        }
        wait(&mut waiter, deadline).await?;
    }
}
