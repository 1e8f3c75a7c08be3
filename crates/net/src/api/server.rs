//! The guardian's API port.
//!
//! JSON-RPC 2.0 over WebSocket, and over plain HTTP POST on the same port (docs/protocol/core.md
//! sections 7.2 and 7.3). The path of the URL is ignored. TLS is terminated in front of this server.
//!
//! What happens at each bound:
//! * connections above [`Limits::connections`]: HTTP 429. Sockets that send no request are closed after
//!   10 s, and sockets above the limit plus a small reserve are closed without a word;
//! * a request above [`Limits::request_bytes`]: error -32007 (HTTP 413 for POST);
//! * an answer above [`Limits::response_bytes`]: error -32008;
//! * calls open above the limits, in number or in memory: error -32009 at once, see
//!   [`super::ApiHandler`]; one whose parameters alone take an eighth of that memory: -32602;
//! * a call above [`Limits::call_timeout`]: error -32000 `Request timeout`;
//! * a client that reads no answers: we stop reading from it, and drop it after 30 s without progress;
//! * a client whose machine is gone is dropped by the kernel, after 45 s on Linux; one that neither asks nor
//!   answers a ping for 75 s as well, when that is looked at next, every 50 s.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hyper::{
    body::Incoming,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::{
    BatchRequestConfig, ConnectionState, HttpBody, HttpRequest, HttpResponse, Methods, PingConfig,
    ServerConfig, ServerHandle, StopHandle, http,
    middleware::rpc::{RpcService, RpcServiceBuilder},
    stop_channel, ws,
};
use subtle::{Choice, ConstantTimeEq};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time,
};
use tracing::{debug, info, warn};

use super::{
    ApiHandler, basic_authorization,
    dispatch::{Dispatch, Shared},
    gated::{Cut, Gated},
};

/// Sockets accepted beyond the connection limit so that they can be told "429" instead of nothing.
const REFUSAL_RESERVE: usize = 64;

/// Time for an HTTP head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time above the call limit for a POST body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that takes none of its answer for this long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// How long shutdown lets answers drain before it cuts the connections.
const DRAIN: Duration = Duration::from_secs(2);

/// Answers queued per connection between handler and socket; small, since waiting answers hold memory.
const ANSWER_QUEUE: u32 = 16;

/// The bounds of one server. See the module text for what happens at each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at the same time.
    pub connections: usize,
    /// Bytes of one request.
    pub request_bytes: u32,
    /// Bytes of one answer.
    pub response_bytes: u32,
    /// Calls open at the same time on one connection.
    pub in_flight_per_connection: usize,
    /// Calls open at the same time on all connections together.
    pub in_flight_total: usize,
    /// Bytes of memory that parameters of open calls may take, on all connections together. The first
    /// [`super::dispatch::FREE_BYTES`] of each call are not counted.
    pub held_bytes: usize,
    /// Time one call may take, long polls included. Handlers should end long polls a little earlier.
    pub call_timeout: Duration,
    /// Time between two pings to an open WebSocket.
    pub ping_interval: Duration,
    /// Silence after which a WebSocket is dropped.
    pub silence: Duration,
}

impl Limits {
    /// The bounds of a running guardian (docs/protocol/core.md sections 7.1 and 7.2).
    pub fn operation() -> Self {
        Self {
            // The page says 1000, which a thousand waiting wallets would fill: guardians and operators
            // come through the same port. Some 20 kB each, 40 MB in all.
            connections: 2048,
            // The page says 10 MiB, which two thousand connections could make 20 GB of requests half
            // read. The largest that a client sends is a recovery of ten thousand notes, 1 MB.
            request_bytes: 2 * 1024 * 1024,
            response_bytes: 10 * 1024 * 1024,
            // A wallet in recovery keeps a few hundred calls open.
            in_flight_per_connection: 1024,
            // Long polls are cheap: sixteen thousand of them with small parameters are a few tens of
            // megabytes, at most 128.
            in_flight_total: 16 * 1024,
            // All that a small machine can spare: some three hundred of the largest transactions, or a
            // hundred of the largest backups.
            held_bytes: 64 * 1024 * 1024,
            call_timeout: Duration::from_secs(60),
            // The page says 10 s and 40 s. Pings of a thousand waiting wallets cost more than their waiting;
            // routers are content with the kernel's, and proxies wait a minute for ours.
            ping_interval: Duration::from_secs(50),
            silence: Duration::from_secs(75),
        }
    }

    /// The bounds while a federation is being set up: the operators only.
    pub fn setup() -> Self {
        Self { connections: 10, ..Self::operation() }
    }
}

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the API: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A running API server. Dropping it cuts all connections; [`ApiServer::shutdown`] lets answers drain.
pub struct ApiServer {
    address: SocketAddr,
    closing: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Opens the port and starts answering.
    ///
    /// `api_secrets` empty means a public federation; otherwise every HTTP request must carry one of
    /// them (section 7.3). Must be called inside a tokio runtime.
    pub async fn bind(
        address: SocketAddr,
        limits: Limits,
        api_secrets: Vec<String>,
        handler: Arc<dyn ApiHandler>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (closing, closing_seen) = watch::channel(false);
        let port = Arc::new(Port::new(limits, api_secrets, handler, closing_seen.clone()));
        info!(target: "moneta::api", %address, "API port open");
        let accepting = Some(tokio::spawn(accept(listener, port, closing_seen)));
        Ok(Self { address, closing, accepting })
    }

    /// The address in use; the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port, answers open calls with error 500 and ends all connections.
    ///
    /// The port is free when this returns. Takes at most a few seconds, even if clients do not read.
    pub async fn shutdown(mut self) {
        let _ = self.closing.send(true);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.await;
        }
        info!(target: "moneta::api", address = %self.address, "API port closed");
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

/// What every connection needs; lives as long as the server.
struct Port {
    shared: Arc<Shared>,
    config: ServerConfig,
    limits: Limits,
    /// Full header values, compared whole and in constant time.
    authorizations: Vec<String>,
    connections: Arc<Semaphore>,
    next_connection: AtomicU32,
}

impl Port {
    fn new(
        limits: Limits,
        api_secrets: Vec<String>,
        handler: Arc<dyn ApiHandler>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let ping = PingConfig::new()
            .ping_interval(limits.ping_interval)
            .inactive_limit(limits.silence)
            .max_failures(1);
        // The library bounds incoming WebSocket messages by the response size; our own dispatch bounds
        // the answers, so both values here are the request bound.
        let config = ServerConfig::builder()
            .max_request_body_size(limits.request_bytes)
            .max_response_body_size(limits.request_bytes)
            .set_batch_request_config(BatchRequestConfig::Disabled)
            .set_message_buffer_capacity(ANSWER_QUEUE)
            .max_subscriptions_per_connection(0)
            .enable_ws_ping(ping)
            .build();
        let shared = Arc::new(Shared {
            handler,
            call_timeout: limits.call_timeout,
            response_bytes: limits.response_bytes as usize,
            in_flight_total: Arc::new(Semaphore::new(limits.in_flight_total)),
            held_bytes: Arc::new(Semaphore::new(limits.held_bytes)),
            held_per_call: limits.held_bytes / 8,
            closing,
        });
        Self {
            shared,
            config,
            authorizations: api_secrets.iter().map(|s| basic_authorization(s)).collect(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            next_connection: AtomicU32::new(0),
            limits,
        }
    }

    /// Compares with every secret, so that the time tells neither which one nor how much matched.
    fn is_authorized<B>(&self, request: &HttpRequest<B>) -> bool {
        if self.authorizations.is_empty() {
            return true;
        }
        let given = request.headers().get(AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
        let known = |matched: Choice, secret: &String| matched | secret.as_bytes().ct_eq(given);
        self.authorizations.iter().fold(Choice::from(0), known).into()
    }
}

/// Stops one connection: first politely, then for good.
struct Live {
    cut: Arc<Cut>,
    stop: ServerHandle,
}

/// Cuts the stream when the owner of the connection is dropped or aborted.
impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.stop.stop();
        self.cut.cut();
    }
}

async fn accept(listener: TcpListener, port: Arc<Port>, mut closing: watch::Receiver<bool>) {
    let sockets = Arc::new(Semaphore::new(port.limits.connections + REFUSAL_RESERVE));
    let mut connections = JoinSet::new();
    loop {
        let socket = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break,
            Some(_) = connections.join_next() => continue,
            socket = listener.accept() => socket,
        };
        match socket {
            Ok((socket, remote)) => {
                // Above the reserve the socket is dropped here, which closes it.
                if let Ok(slot) = sockets.clone().try_acquire_owned() {
                    let port = port.clone();
                    connections.spawn(async move {
                        serve(socket, remote, port).await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back.
                warn!(target: "moneta::api", %error, "cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // Connections notice `closing` themselves; those still there after the drain are cut by the drop.
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(DRAIN, drained).await;
    connections.shutdown().await;
}

/// Serves one socket until it ends or the server closes.
async fn serve(socket: TcpStream, remote: SocketAddr, port: Arc<Port>) {
    if let Err(error) = crate::socket::tune(&socket) {
        debug!(target: "moneta::api", %remote, %error, "socket is gone already");
        return;
    }
    let (stop_handle, stop) = stop_channel();
    let live = Live { cut: Arc::new(Cut::default()), stop };
    let stream = Gated::new(socket, live.cut.clone(), WRITE_PATIENCE);
    let mut closing = port.shared.closing.clone();
    // The WebSocket takes over the socket after the upgrade; it is driven here, so that its end is ours.
    let upgraded = Upgraded::default();
    // In a box of its own: what HTTP needs is freed before the WebSocket, which may stay for days.
    Box::pin(serve_http(stream, remote, port, stop_handle, upgraded.clone())).await;
    let websocket = lock(&upgraded).take();
    drop(upgraded);
    let Some(mut websocket) = websocket else { return };
    tokio::select! {
        () = &mut websocket => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    let _ = live.stop.stop();
    websocket.await;
}

/// Serves plain HTTP until the socket ends, is upgraded, or the server closes.
async fn serve_http(
    stream: Gated,
    remote: SocketAddr,
    port: Arc<Port>,
    stop_handle: StopHandle,
    upgraded: Upgraded,
) {
    let mut closing = port.shared.closing.clone();
    let service = service_fn(move |request: HttpRequest<Incoming>| {
        let (port, stop_handle, upgraded) = (port.clone(), stop_handle.clone(), upgraded.clone());
        async move { Ok::<_, Infallible>(respond(port, request, stop_handle, upgraded).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(http);
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = &mut http => {
                if let Err(error) = ended {
                    debug!(target: "moneta::api", %remote, %error, "connection ended early");
                }
                break;
            }
            _ = closing.wait_for(|closing| *closing), if !is_closing => {
                is_closing = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The running side of an upgraded connection.
type WebSocket = futures::future::BoxFuture<'static, ()>;

/// Where an upgraded connection is left for the task that drives it.
type Upgraded = Arc<Mutex<Option<WebSocket>>>;

/// What is behind the lock is replaced whole.
fn lock(upgraded: &Upgraded) -> MutexGuard<'_, Option<WebSocket>> {
    upgraded.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn respond(
    port: Arc<Port>,
    request: HttpRequest<Incoming>,
    stop_handle: StopHandle,
    upgraded: Upgraded,
) -> HttpResponse {
    if !port.is_authorized(&request) {
        return unauthorized();
    }
    let Ok(permit) = port.connections.clone().try_acquire_owned() else {
        debug!(target: "moneta::api", "connection limit reached, answered 429");
        return http::response::too_many_requests();
    };
    let id = port.next_connection.fetch_add(1, Ordering::Relaxed);
    let connection = ConnectionState::new(stop_handle, id, permit);
    let in_flight = Arc::new(Semaphore::new(port.limits.in_flight_per_connection));
    let shared = port.shared.clone();
    let dispatch = RpcServiceBuilder::new()
        .layer_fn(move |inner: RpcService| Dispatch::new(shared.clone(), in_flight.clone(), inner));
    let config = port.config.clone();
    if ws::is_upgrade_request(&request) {
        return match ws::connect(request, config, Methods::new(), connection, dispatch).await {
            Ok((response, websocket)) => {
                // One upgrade per connection is all HTTP allows.
                *lock(&upgraded) = Some(Box::pin(websocket));
                response
            }
            Err(response) => response,
        };
    }
    let answer =
        http::call_with_service_builder(request, config, connection, Methods::new(), dispatch);
    match time::timeout(port.limits.call_timeout + BODY_TIMEOUT, answer).await {
        Ok(response) => response,
        Err(_) => with_status(hyper::StatusCode::REQUEST_TIMEOUT, "Request timeout"),
    }
}

/// The exact refusal of docs/protocol/core.md section 7.3.
fn unauthorized() -> HttpResponse {
    let mut response = with_status(hyper::StatusCode::UNAUTHORIZED, "Unauthorized");
    let challenge =
        hyper::header::HeaderValue::from_static("Basic realm=\"Authentication needed\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn with_status(status: hyper::StatusCode, body: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(body));
    *response.status_mut() = status;
    response
}
