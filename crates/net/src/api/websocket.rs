//! The WebSocket connector: URL schemes `ws` and `wss`.
//!
//! Trusts the Mozilla root set only, sends the API secret as HTTP Basic, follows no redirects (a
//! guardian's URL is signed; where it points is not another server's to decide).
//!
//! Sends no pings: the server does, whose pings are answered, and the kernel notices a machine that is
//! gone. A connection over which nothing came for [`ConnectorOptions::silence`] gets no new calls; those
//! under way on it end by their own limit.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jsonrpsee::{
    client_transport::ws::{WsHandshakeError, WsTransportClientBuilder},
    core::{
        client::{Client, ClientT, Error, async_client::ClientBuilder},
        params::ArrayParams,
        traits::ToRpcParams,
    },
};
use moneta_core::{
    api::{ApiError, ApiRequest},
    url::ApiUrl,
};
use serde_json::value::RawValue;

use super::{
    CallError, ConnectError, Connection, Connector, ConnectorOptions, basic_authorization,
    heard::{Heard, LastHeard},
};
use crate::dial;

/// Requests handed to the sending task and not yet written; more of them wait.
const SEND_QUEUE: usize = 64;

/// Opens WebSocket connections to guardians.
#[derive(Clone, Debug)]
pub struct WebSocketConnector {
    options: ConnectorOptions,
}

impl WebSocketConnector {
    /// Returns a connector with the given bounds.
    pub fn new(options: ConnectorOptions) -> Self {
        Self { options }
    }
}

#[async_trait]
impl Connector for WebSocketConnector {
    fn schemes(&self) -> &'static [&'static str] {
        &["ws", "wss"]
    }

    async fn connect(
        &self,
        url: &ApiUrl,
        api_secret: Option<&str>,
    ) -> Result<Arc<dyn Connection>, ConnectError> {
        let url = url.as_url();
        let unusable = |reason: &str| ConnectError::Unusable { reason: reason.to_owned() };
        let host = url.host_str().ok_or_else(|| unusable("URL has no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| unusable("URL has no port"))?;
        let mut headers = hyper::HeaderMap::new();
        if let Some(secret) = api_secret {
            let mut value = hyper::header::HeaderValue::from_str(&basic_authorization(secret))
                .map_err(|_| unusable("API secret does not fit into a header"))?;
            value.set_sensitive(true);
            headers.insert(hyper::header::AUTHORIZATION, value);
        }
        let timeout = self.options.connect_timeout;
        let opening = async {
            let stream = dial::open(host, port, url.scheme() == "wss", timeout)
                .await
                .map_err(|error| ConnectError::Failed { reason: error.to_string() })?;
            let stream = Heard::new(stream);
            let last_heard = stream.last();
            let opened = WsTransportClientBuilder::default()
                .set_headers(headers)
                .connection_timeout(timeout)
                .max_request_size(self.options.request_bytes)
                .max_response_size(self.options.response_bytes)
                .build_with_stream(url.clone(), stream)
                .await
                .map_err(handshake_error)?;
            Ok((opened, last_heard))
        };
        let ((sender, receiver), last_heard) =
            tokio::time::timeout(timeout, opening).await.map_err(|_| ConnectError::Failed {
                reason: format!("no connection within {timeout:?}"),
            })??;
        let client = ClientBuilder::default()
            .request_timeout(self.options.request_timeout)
            .max_concurrent_requests(SEND_QUEUE)
            .build_with_tokio(sender, receiver);
        Ok(Arc::new(WebSocket {
            client,
            last_heard,
            silence: self.options.silence,
            request_bytes: self.options.request_bytes as usize,
        }))
    }
}

/// Bytes of a JSON-RPC request around its parameters, generously.
const FRAMING: usize = 256;

struct WebSocket {
    client: Client,
    last_heard: LastHeard,
    silence: Duration,
    request_bytes: usize,
}

#[async_trait]
impl Connection for WebSocket {
    fn is_connected(&self) -> bool {
        self.client.is_connected() && self.last_heard.elapsed() < self.silence
    }

    async fn request(
        &self,
        method: &str,
        request: &ApiRequest,
        answer_bytes: usize,
    ) -> Result<Box<RawValue>, CallError> {
        let invalid = |reason: String| CallError::Invalid { reason };
        let mut params = ArrayParams::new();
        params.insert(request).map_err(|error| invalid(error.to_string()))?;
        let params = params.to_rpc_params().map_err(|error| invalid(error.to_string()))?;
        let length = params.as_ref().map_or(0, |raw| raw.get().len());
        if length + method.len() + FRAMING > self.request_bytes {
            return Err(invalid(format!("request of {length} bytes is above the limit")));
        }
        let answer: Result<Box<RawValue>, Error> = self.client.request(method, Ready(params)).await;
        let answer = answer.map_err(call_error)?;
        let length = answer.get().len();
        if length > answer_bytes {
            return Err(invalid(format!(
                "answer of {length} bytes, expected at most {answer_bytes}"
            )));
        }
        Ok(answer)
    }
}

/// Parameters that are serialised already.
struct Ready(Option<Box<RawValue>>);

impl ToRpcParams for Ready {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(self.0)
    }
}

fn handshake_error(error: WsHandshakeError) -> ConnectError {
    match error {
        WsHandshakeError::Rejected { status_code: 401 } => ConnectError::Unauthorized,
        WsHandshakeError::Rejected { status_code: 429 } => {
            ConnectError::Failed { reason: "server is at its connection limit".to_owned() }
        }
        other => ConnectError::Failed { reason: other.to_string() },
    }
}

fn call_error(error: Error) -> CallError {
    match error {
        Error::Call(object) => CallError::Rejected(ApiError {
            code: object.code(),
            message: object.message().to_owned(),
        }),
        Error::RequestTimeout => CallError::Timeout,
        Error::ParseError(error) => CallError::Invalid { reason: error.to_string() },
        Error::RestartNeeded(cause) => {
            CallError::Unreachable { reason: cause.to_string(), sent: true }
        }
        other => CallError::Unreachable { reason: other.to_string(), sent: true },
    }
}
