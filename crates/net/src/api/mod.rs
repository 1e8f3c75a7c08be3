//! The federation API: JSON-RPC 2.0 over WebSocket (docs/protocol/core.md section 7.1 to 7.3).
//!
//! [`ApiServer`] is the guardian's side, [`ApiConnector`] the side of clients and of guardians calling
//! each other. Both carry the envelope of section 7.1 and know no method by name.

mod client;
mod dispatch;
mod gated;
mod heard;
mod server;
mod websocket;

pub use client::{ApiConnector, CallError, ConnectError, Connection, Connector, ConnectorOptions};
pub use dispatch::{ApiHandler, BUSY_CODE, to_result};
pub use server::{ApiServer, BindError, Limits};
pub use websocket::WebSocketConnector;

/// Returns the `Authorization` header value that carries an API secret.
///
/// Source: docs/protocol/core.md, section 7.3.
fn basic_authorization(secret: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("fedimint:{secret}")))
}
