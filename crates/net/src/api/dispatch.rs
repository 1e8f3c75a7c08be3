//! From one JSON-RPC call to one handler call.
//!
//! Bounds: a connection may have `in_flight_per_connection` calls open, the server `in_flight_total`,
//! and the parameters of all of them may take `held_bytes` of memory, reckoned before they are parsed.
//! A call above any bound is answered at once with [`BUSY_CODE`], so the caller knows that nothing
//! happened and may ask again. A call counts until its answer was handed to the socket buffer, not only
//! until the handler returned; answers waiting for a slow reader are part of the bound.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use jsonrpsee::{
    core::server::ResponsePayload,
    server::{
        MethodResponse,
        middleware::rpc::{Batch, Notification, Request, RpcService, RpcServiceT},
    },
    types::{
        ErrorObjectOwned, Id,
        error::{BATCHES_NOT_SUPPORTED_CODE, INVALID_PARAMS_CODE, METHOD_NOT_FOUND_CODE},
    },
};
use moneta_core::api::{ApiError, ApiRequest};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, error};

/// JSON-RPC error code for a call refused because too many are open. Nothing was done; ask again later.
pub const BUSY_CODE: i32 = jsonrpsee::types::error::SERVER_IS_BUSY_CODE;

/// What answers the calls. One handler serves the setup phase, another the operation phase.
#[async_trait]
pub trait ApiHandler: Send + Sync + 'static {
    /// Says whether `method` exists. Unknown ones are answered -32601, which some client modules use as
    /// a feature probe.
    fn knows(&self, method: &str) -> bool;

    /// Answers one call with a JSON text, which may be shared between many answers.
    ///
    /// Cancellation: the future is dropped at any await point when the client disconnects, at the time
    /// limit, and at shutdown. Work that must finish belongs into a task of the handler's own.
    /// Errors: sent to the client as they are. A panic becomes error 500.
    async fn call(&self, method: &str, request: ApiRequest) -> Result<Arc<RawValue>, ApiError>;
}

/// Serialises an answer once.
///
/// Errors: 500 if the value has no JSON form (a map with keys that are not strings, for example).
pub fn to_result<T: Serialize + ?Sized>(value: &T) -> Result<Arc<RawValue>, ApiError> {
    match to_raw_value(value) {
        Ok(raw) => Ok(Arc::from(raw)),
        Err(error) => {
            Err(ApiError { code: 500, message: format!("answer has no JSON form: {error}") })
        }
    }
}

/// What all connections of one server share.
pub(crate) struct Shared {
    pub(crate) handler: Arc<dyn ApiHandler>,
    pub(crate) call_timeout: Duration,
    pub(crate) response_bytes: usize,
    pub(crate) in_flight_total: Arc<Semaphore>,
    /// A permit is a byte.
    pub(crate) held_bytes: Arc<Semaphore>,
    pub(crate) held_per_call: usize,
    /// Becomes true when the server shuts down.
    pub(crate) closing: watch::Receiver<bool>,
}

/// The calls of one connection.
#[derive(Clone)]
pub(crate) struct Dispatch {
    shared: Arc<Shared>,
    in_flight: Arc<Semaphore>,
    /// The library's own service holds the count of open calls that a graceful close waits for.
    _inner: RpcService,
}

impl Dispatch {
    pub(crate) fn new(shared: Arc<Shared>, in_flight: Arc<Semaphore>, inner: RpcService) -> Self {
        Self { shared, in_flight, _inner: inner }
    }
}

impl RpcServiceT for Dispatch {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move { this.answer(request).await }
    }

    /// Batches would run many calls under one permit; no client of the protocol sends them.
    fn batch<'a>(&self, _batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let refusal = failure(BATCHES_NOT_SUPPORTED_CODE, "Batched requests are not supported");
        async move { MethodResponse::error(Id::Null, refusal) }
    }

    /// A notification asks for no answer, so it gets no work either.
    fn notification<'a>(
        &self,
        _notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }
}

impl Dispatch {
    async fn answer(self, request: Request<'_>) -> MethodResponse {
        let Request { id, method, params, .. } = request;
        if !self.shared.handler.knows(&method) {
            let refusal = failure(METHOD_NOT_FOUND_CODE, "Method not found");
            return MethodResponse::error(id, refusal);
        }
        let Some(permits) = self.permits() else {
            return MethodResponse::error(id, failure(BUSY_CODE, "Too many requests in flight"));
        };
        // Exactly one positional parameter; an object, none or two are refused alike.
        let envelope = params.as_ref().map_or("", |raw| raw.get());
        let held_bytes = held_bytes(envelope).saturating_sub(FREE_BYTES);
        if held_bytes > self.shared.held_per_call {
            return MethodResponse::error(id, failure(INVALID_PARAMS_CODE, "Params are too large"));
        }
        let Some(held) = self.hold(held_bytes) else {
            return MethodResponse::error(id, failure(BUSY_CODE, "Too many large requests"));
        };
        let envelope = match serde_json::from_str::<(ApiRequest,)>(envelope) {
            Ok((envelope,)) => envelope,
            Err(error) => {
                let refusal = failure(INVALID_PARAMS_CODE, format!("Invalid params: {error}"));
                return MethodResponse::error(id, refusal);
            }
        };
        let payload = match self.run(&method, envelope).await {
            Ok(raw) => ResponsePayload::success(SharedJson(raw)),
            Err(refusal) => ResponsePayload::error(failure(refusal.code, refusal.message)),
        };
        let (payload, sent) = payload.notify_on_completion();
        let response = MethodResponse::response(id, payload, self.shared.response_bytes);
        // Ends as soon as the answer is sent or its connection is gone, whichever comes first.
        tokio::spawn(async move {
            let _ = sent.await;
            drop(permits);
            drop(held);
        });
        response
    }

    fn permits(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.in_flight.clone().try_acquire_owned().ok()?;
        let total = self.shared.in_flight_total.clone().try_acquire_owned().ok()?;
        Some((own, total))
    }

    fn hold(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes).ok()?;
        self.shared.held_bytes.clone().try_acquire_many_owned(permits).ok()
    }

    async fn run(&self, method: &str, envelope: ApiRequest) -> Result<Arc<RawValue>, ApiError> {
        let mut closing = self.shared.closing.clone();
        let call = AssertUnwindSafe(self.shared.handler.call(method, envelope)).catch_unwind();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => {
                Err(ApiError { code: 500, message: "Server is shutting down".to_owned() })
            }
            answer = tokio::time::timeout(self.shared.call_timeout, call) => match answer {
                Ok(Ok(result)) => result,
                Ok(Err(_panic)) => {
                    error!(target: "moneta::api", method, "API handler panicked");
                    Err(ApiError { code: 500, message: "API handler panicked".to_owned() })
                }
                Err(_elapsed) => {
                    debug!(target: "moneta::api", method, "call reached the time limit");
                    Err(ApiError { code: -32000, message: "Request timeout".to_owned() })
                }
            },
        }
    }
}

/// What the parameters of every call may take without being counted: those of an ordinary payment, which
/// must not be refused because somebody else sends large ones.
pub(crate) const FREE_BYTES: usize = 8 * 1024;

/// What one more value takes at most, in a list or an object, beside its text.
const VALUE_BYTES: usize = 64;

/// How much memory a call with these parameters takes while it is open, at most: the message as it
/// came, the same again as strings, and for every value its place. `[0,0,0]` grows sixteenfold.
fn held_bytes(params: &str) -> usize {
    let starts_value = |byte: &u8| matches!(byte, b',' | b':' | b'[' | b'{');
    let values = params.as_bytes().iter().filter(|byte| starts_value(byte)).count();
    2 * params.len() + VALUE_BYTES * values
}

fn failure(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}

/// A finished JSON text that is copied into the response buffer, never parsed or built again.
#[derive(Clone)]
struct SharedJson(Arc<RawValue>);

impl Serialize for SharedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
