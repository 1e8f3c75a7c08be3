//! A small HTTP/1.1 client: bounded answers, kept-alive connections, TLS with the Mozilla roots.
//!
//! No redirects, no proxies, no cookies, no compression: chain sources need none of them. Requests are
//! repeated once if a kept connection turns out to be closed, so only send what may arrive twice.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinSet, time};
use url::Url;

use crate::dial;

/// Idle connections kept per server.
const IDLE_PER_SERVER: usize = 4;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Refused: the URL is not `http` or `https` with a host.
    #[error("URL cannot be used for HTTP: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// Unavailable: no connection.
    #[error("cannot connect to {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// Unavailable: no whole answer in time.
    #[error("{server} did not answer within {} s", timeout.as_secs())]
    Timeout {
        /// Host and port.
        server: String,
        /// The time given.
        timeout: Duration,
    },
    /// Unavailable: the connection broke or the answer is above the bound.
    #[error("answer of {server} was cut short: {reason}")]
    Broken {
        /// Host and port.
        server: String,
        /// What happened.
        reason: String,
    },
}

/// One request.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    method: Method,
    url: Url,
    authorization: Option<HeaderValue>,
    content_type: Option<&'static str>,
    body: Bytes,
}

impl HttpRequest {
    /// A GET request.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            authorization: None,
            content_type: None,
            body: Bytes::new(),
        }
    }

    /// A POST request with a body.
    pub fn post(url: Url, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            content_type: Some(content_type),
            ..Self::get(url)
        }
    }

    /// Adds an `Authorization` header. The value is not printed by `Debug`.
    pub fn with_authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.authorization = Some(value);
        self
    }
}

/// One answer, read whole.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, at most as long as the client's bound.
    pub body: Bytes,
}

/// Sends requests; keeps a few idle connections per server.
pub struct HttpClient {
    timeout: Duration,
    answer_bytes: usize,
    idle: Mutex<HashMap<Server, Vec<SendRequest<Full<Bytes>>>>>,
    /// Drives the connections; they end with the client.
    drivers: Mutex<JoinSet<()>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Server {
    host: String,
    port: u16,
    tls: bool,
}

impl HttpClient {
    /// Returns a client whose requests take at most `timeout` and whose answers are at most
    /// `answer_bytes` long.
    pub fn new(timeout: Duration, answer_bytes: usize) -> Self {
        Self { timeout, answer_bytes, idle: Mutex::default(), drivers: Mutex::default() }
    }

    /// Sends one request and reads the whole answer. Any status is an answer.
    ///
    /// Cancel safe: a dropped future drops its connection.
    pub async fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, HttpError> {
        let server = Server::of(&request.url)?;
        match time::timeout(self.timeout, self.send_untimed(&server, request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout { server: server.to_string(), timeout: self.timeout }),
        }
    }

    async fn send_untimed(
        &self,
        server: &Server,
        request: &HttpRequest,
    ) -> Result<HttpAnswer, HttpError> {
        while let Some(mut connection) = self.take_idle(server) {
            if connection.ready().await.is_err() {
                continue;
            }
            // The server may close a kept connection just as we use it: then a new one is tried.
            if let Ok(answer) = self.exchange(server, connection, request).await {
                return Ok(answer);
            }
            break;
        }
        let connection = self.connect(server).await?;
        self.exchange(server, connection, request).await
    }

    async fn exchange(
        &self,
        server: &Server,
        mut connection: SendRequest<Full<Bytes>>,
        request: &HttpRequest,
    ) -> Result<HttpAnswer, HttpError> {
        let broken = |reason: String| HttpError::Broken { server: server.to_string(), reason };
        let answer = connection
            .send_request(request.to_hyper(server)?)
            .await
            .map_err(|error| broken(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.answer_bytes)
            .collect()
            .await
            .map_err(|error| broken(error.to_string()))?
            .to_bytes();
        self.keep(server, connection);
        Ok(HttpAnswer { status, body })
    }

    async fn connect(&self, server: &Server) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let unreachable =
            |reason: String| HttpError::Unreachable { server: server.to_string(), reason };
        let stream = dial::open(&server.host, server.port, server.tls, self.timeout)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let (sender, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        while drivers.try_join_next().is_some() {}
        drivers.spawn(async move {
            // The sender sees the same error.
            let _ = driver.await;
        });
        Ok(sender)
    }

    fn take_idle(&self, server: &Server) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(server)?.pop()
    }

    fn keep(&self, server: &Server, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(server.clone()).or_default();
        kept.retain(|connection| !connection.is_closed());
        if kept.len() < IDLE_PER_SERVER && !connection.is_closed() {
            kept.push(connection);
        }
    }
}

impl HttpRequest {
    fn to_hyper(&self, server: &Server) -> Result<Request<Full<Bytes>>, HttpError> {
        let path = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let mut builder =
            Request::builder().method(&self.method).uri(path).header(HOST, server.to_string());
        if let Some(value) = &self.authorization {
            builder = builder.header(hyper::header::AUTHORIZATION, value);
        }
        if let Some(value) = self.content_type {
            builder = builder.header(CONTENT_TYPE, value);
        }
        builder
            .body(Full::new(self.body.clone()))
            .map_err(|error| HttpError::BadUrl { reason: error.to_string() })
    }
}

impl Server {
    fn of(url: &Url) -> Result<Self, HttpError> {
        let bad = |reason: &str| HttpError::BadUrl { reason: reason.to_owned() };
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("scheme is neither http nor https")),
        };
        let host = url.host_str().ok_or_else(|| bad("no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| bad("no port"))?;
        Ok(Self { host, port, tls })
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => write!(f, "{}", self.host),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
