//! Calls to guardians: one shared connection per URL, opened when first needed.
//!
//! The first connection attempt starts at once, later ones wait behind a Fibonacci gate of 5 ms to 30 s,
//! and of 0.5 s to 30 s after a connection that had worked (docs/protocol/core.md section 9.3), all with
//! jitter. Everybody who calls while an attempt runs shares its outcome, and an attempt goes on when the
//! caller who started it gives up, so that a slow guardian is reached in the end although faster ones
//! have answered.
//!
//! Bounds: [`ConnectorOptions`]. Calls above the in-flight bound of a connection wait for their turn;
//! callers bound their own waiting with a timeout of theirs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use moneta_core::{
    api::{ApiError, ApiRequest},
    url::ApiUrl,
};
use serde_json::{Value, value::RawValue};
use tokio::{sync::Semaphore, task::JoinSet, time};
use tracing::debug;

use super::WebSocketConnector;
use crate::Backoff;

/// First retry delay after a failed first attempt.
const FIRST_RETRY: Duration = Duration::from_millis(5);

/// First retry delay after a connection that had worked was lost.
const AFTER_DROP: Duration = Duration::from_millis(500);

/// No retry waits longer.
const RETRY_CAP: Duration = Duration::from_secs(30);

/// Connections kept by one [`ApiConnector`]; a federation has at most a few tens of guardians.
const MAX_SLOTS: usize = 4096;

/// Bounds and timeouts of outgoing connections.
#[derive(Clone, Debug)]
pub struct ConnectorOptions {
    /// Time for name lookup, TCP, TLS and the WebSocket handshake together.
    pub connect_timeout: Duration,
    /// Time for one answer. Above the server's 60 s, so that its own time limit wins.
    pub request_timeout: Duration,
    /// A server that was not heard for so long is dialled anew by the next call. Guardians ping at least
    /// every 50 s.
    pub silence: Duration,
    /// Bytes of one request.
    pub request_bytes: u32,
    /// Bytes of one answer; a longer one ends the connection.
    pub response_bytes: u32,
    /// Calls open at the same time on one connection.
    pub in_flight: usize,
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(65),
            silence: Duration::from_secs(60),
            request_bytes: 10 * 1024 * 1024,
            response_bytes: 10 * 1024 * 1024,
            // Below the server's own bound of 1024, with room for other users of the connection.
            in_flight: 512,
        }
    }
}

/// Why a call gave no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Unavailable: no connection, or it was lost. If `sent`, the server may have acted on the call.
    #[error("guardian cannot be reached: {reason}")]
    Unreachable {
        /// What went wrong, for people.
        reason: String,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// Refused: the server answered with an error.
    #[error("guardian refused the call: {} (code {})", .0.message, .0.code)]
    Rejected(ApiError),
    /// Unavailable: no answer in time; the server may have acted on the call.
    #[error("guardian did not answer in time")]
    Timeout,
    /// Refused here: the request is too large, or the answer is no JSON-RPC.
    #[error("call is not valid: {reason}")]
    Invalid {
        /// What was wrong, for people.
        reason: String,
    },
}

/// Why no connection was made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Refused: no connector speaks the scheme of the URL.
    #[error("URL scheme {scheme:?} is not supported")]
    UnsupportedScheme {
        /// The scheme as written.
        scheme: String,
    },
    /// Refused: the URL or the secret cannot be used at all.
    #[error("address is not usable: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: String,
    },
    /// Refused: the API secret is missing or wrong (HTTP 401).
    #[error("API secret is missing or wrong")]
    Unauthorized,
    /// Unavailable: the attempt failed.
    #[error("{reason}")]
    Failed {
        /// What went wrong, for people.
        reason: String,
    },
}

/// Opens connections for some URL schemes. The seam for transports beside WebSocket.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// The URL schemes this connector speaks.
    fn schemes(&self) -> &'static [&'static str];

    /// Opens one connection. Bounds its own time. A transport that cannot carry an API secret must
    /// refuse one rather than drop it.
    async fn connect(
        &self,
        url: &ApiUrl,
        api_secret: Option<&str>,
    ) -> Result<Arc<dyn Connection>, ConnectError>;
}

/// One open connection, shared by concurrent calls.
#[async_trait]
pub trait Connection: Send + Sync + 'static {
    /// Whether the connection still works as far as is known.
    fn is_connected(&self) -> bool;

    /// Makes one call whose answer may have so many bytes as JSON text, which it is. Bounds its own time.
    async fn request(
        &self,
        method: &str,
        request: &ApiRequest,
        answer_bytes: usize,
    ) -> Result<Box<RawValue>, CallError>;
}

/// Makes calls to any number of guardians. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct ApiConnector {
    inner: Arc<Inner>,
}

struct Inner {
    connectors: Vec<Arc<dyn Connector>>,
    options: ConnectorOptions,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    /// Running connection attempts; they end with the last clone of the connector.
    attempts: Mutex<JoinSet<()>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SlotKey {
    url: String,
    api_secret: Option<String>,
}

impl Default for ApiConnector {
    fn default() -> Self {
        Self::new(ConnectorOptions::default())
    }
}

impl ApiConnector {
    /// Returns a connector that speaks `ws` and `wss`.
    pub fn new(options: ConnectorOptions) -> Self {
        let websocket = Arc::new(WebSocketConnector::new(options.clone()));
        Self::with_connectors(options, vec![websocket])
    }

    /// Returns a connector that speaks what the given ones speak; the first match wins.
    pub fn with_connectors(options: ConnectorOptions, connectors: Vec<Arc<dyn Connector>>) -> Self {
        let inner =
            Inner { connectors, options, slots: Mutex::default(), attempts: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Calls `method` at `url`, connecting first if needed.
    ///
    /// Waits behind the retry gate (up to 30 s) if the last attempt failed: a caller may retry in a plain
    /// loop. Nothing is sent twice. Cancel safe in the sense that dropping the future stops the waiting;
    /// a request already sent may still be acted on.
    pub async fn call(
        &self,
        url: &ApiUrl,
        api_secret: Option<&str>,
        method: &str,
        request: ApiRequest,
    ) -> Result<Value, CallError> {
        let answer_bytes = self.inner.options.response_bytes as usize;
        self.call_bounded(url, api_secret, method, request, answer_bytes).await
    }

    /// Like [`ApiConnector::call`], for an answer of at most `answer_bytes` of JSON text: a value takes
    /// many times the memory of its text, so a longer one is refused before it is read.
    ///
    /// Errors: `Invalid` for a longer answer; the connection stays.
    pub async fn call_bounded(
        &self,
        url: &ApiUrl,
        api_secret: Option<&str>,
        method: &str,
        request: ApiRequest,
        answer_bytes: usize,
    ) -> Result<Value, CallError> {
        let text = self.call_text(url, api_secret, method, request, answer_bytes).await?;
        serde_json::from_str(text.get())
            .map_err(|error| CallError::Invalid { reason: error.to_string() })
    }

    /// Like [`ApiConnector::call_bounded`], for callers that read the JSON text of a long answer themselves.
    pub async fn call_text(
        &self,
        url: &ApiUrl,
        api_secret: Option<&str>,
        method: &str,
        request: ApiRequest,
        answer_bytes: usize,
    ) -> Result<Box<RawValue>, CallError> {
        let slot = self.slot(url, api_secret)?;
        // Before the connection is looked at: who waits long for a turn must not get one that died meanwhile.
        let Ok(_turn) = slot.turns.acquire().await else {
            return Err(CallError::Unreachable { reason: "connector closed".into(), sent: false });
        };
        let connection = self.connection(&slot).await.map_err(|error| match error {
            ConnectError::Failed { reason } => CallError::Unreachable { reason, sent: false },
            ConnectError::Unauthorized => CallError::Rejected(ApiError {
                code: 401,
                message: "API secret is missing or wrong".to_owned(),
            }),
            other => CallError::Invalid { reason: other.to_string() },
        })?;
        connection.request(method, &request, answer_bytes).await
    }

    /// Whether a connection to `url` is open right now.
    pub fn is_connected(&self, url: &ApiUrl, api_secret: Option<&str>) -> bool {
        let key = SlotKey::new(url, api_secret);
        let slot = lock(&self.inner.slots).get(&key).cloned();
        slot.is_some_and(
            |slot| matches!(&*lock(&slot.state), State::Up(connection) if connection.is_connected()),
        )
    }

    fn slot(&self, url: &ApiUrl, api_secret: Option<&str>) -> Result<Arc<Slot>, CallError> {
        let scheme = url.as_url().scheme();
        let speaks = |connector: &&Arc<dyn Connector>| connector.schemes().contains(&scheme);
        let Some(connector) = self.inner.connectors.iter().find(speaks) else {
            let error = ConnectError::UnsupportedScheme { scheme: scheme.to_owned() };
            return Err(CallError::Invalid { reason: error.to_string() });
        };
        let key = SlotKey::new(url, api_secret);
        let mut slots = lock(&self.inner.slots);
        if let Some(slot) = slots.get(&key) {
            return Ok(slot.clone());
        }
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, slot| matches!(&*lock(&slot.state), State::Up(_)));
        }
        if slots.len() >= MAX_SLOTS {
            return Err(CallError::Invalid { reason: "too many different guardians".into() });
        }
        let slot = Arc::new(Slot {
            url: url.clone(),
            api_secret: api_secret.map(str::to_owned),
            connector: connector.clone(),
            turns: Semaphore::new(self.inner.options.in_flight),
            state: Mutex::new(State::Down { gate: None, backoff: first_backoff() }),
        });
        slots.insert(key, slot.clone());
        Ok(slot)
    }

    /// Returns the open connection, or shares the outcome of the running or next attempt.
    async fn connection(&self, slot: &Arc<Slot>) -> Result<Arc<dyn Connection>, ConnectError> {
        let attempt = {
            let mut state = lock(&slot.state);
            match &mut *state {
                State::Up(connection) if connection.is_connected() => {
                    return Ok(connection.clone());
                }
                State::Connecting(attempt) => attempt.clone(),
                State::Up(_) => {
                    let mut backoff = Backoff::new(AFTER_DROP, RETRY_CAP);
                    let gate = time::Instant::now() + backoff.next_delay();
                    self.start(slot, &mut state, Some(gate), backoff)
                }
                State::Down { gate, backoff } => {
                    let (gate, backoff) = (*gate, backoff.clone());
                    self.start(slot, &mut state, gate, backoff)
                }
            }
        };
        attempt.await
    }

    fn start(
        &self,
        slot: &Arc<Slot>,
        state: &mut State,
        gate: Option<time::Instant>,
        backoff: Backoff,
    ) -> Attempt {
        let running = tokio::sync::oneshot::channel();
        let attempt = running
            .1
            .map(|outcome| {
                outcome.unwrap_or(Err(ConnectError::Failed { reason: "connector closed".into() }))
            })
            .boxed()
            .shared();
        *state = State::Connecting(attempt.clone());
        let mut attempts = lock(&self.inner.attempts);
        while attempts.try_join_next().is_some() {}
        attempts.spawn(attempt_once(Arc::downgrade(slot), gate, backoff, running.0));
        attempt
    }
}

/// The task behind one attempt: waits for the gate, connects, notes the outcome, tells the waiters.
async fn attempt_once(
    slot: Weak<Slot>,
    gate: Option<time::Instant>,
    mut backoff: Backoff,
    waiters: tokio::sync::oneshot::Sender<Result<Arc<dyn Connection>, ConnectError>>,
) {
    if let Some(gate) = gate {
        time::sleep_until(gate).await;
    }
    let Some(slot) = slot.upgrade() else { return };
    let outcome = slot.connector.connect(&slot.url, slot.api_secret.as_deref()).await;
    let next = match &outcome {
        Ok(connection) => State::Up(connection.clone()),
        Err(error) => {
            debug!(target: "moneta::api", url = %slot.url, %error, "cannot connect");
            let gate = Some(time::Instant::now() + backoff.next_delay());
            State::Down { gate, backoff }
        }
    };
    *lock(&slot.state) = next;
    let _ = waiters.send(outcome);
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>>>;

/// The state of one URL.
struct Slot {
    url: ApiUrl,
    api_secret: Option<String>,
    connector: Arc<dyn Connector>,
    turns: Semaphore,
    state: Mutex<State>,
}

enum State {
    /// No connection; the next attempt waits for `gate`.
    Down { gate: Option<time::Instant>, backoff: Backoff },
    /// An attempt runs; whoever needs the connection waits for it.
    Connecting(Attempt),
    /// Connected when last looked at.
    Up(Arc<dyn Connection>),
}

impl SlotKey {
    fn new(url: &ApiUrl, api_secret: Option<&str>) -> Self {
        Self { url: url.as_url().to_string(), api_secret: api_secret.map(str::to_owned) }
    }
}

fn first_backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, RETRY_CAP)
}

/// The state behind our locks is replaced whole, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
