//! Errors of API calls as they travel.
//!
//! Source: docs/protocol/core.md, section 7.1.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The error answer to an API call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct ApiError {
    /// One of the constants of this type, or what a foreign server sent.
    pub code: i32,
    /// Text for people. Some texts are protocol, see the endpoint.
    pub message: String,
}

impl ApiError {
    /// The parameters do not parse, or their content is refused.
    pub const BAD_REQUEST: i32 = 400;
    /// An admin endpoint was called without the valid password.
    pub const UNAUTHORIZED: i32 = 401;
    /// Over iroh: no such method or module.
    pub const NOT_FOUND: i32 = 404;
    /// The guardian failed.
    pub const INTERNAL: i32 = 500;
    /// The handler ran for longer than 60 s.
    pub const TIMEOUT: i32 = -32000;
    /// Over WebSocket: no such method. Clients use it as a feature probe.
    pub const METHOD_NOT_FOUND: i32 = -32601;

    /// Makes an error with any code.
    pub fn new(code: i32, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Refuses the parameters.
    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self::new(Self::BAD_REQUEST, message)
    }

    /// Refuses a call without the valid password.
    pub fn unauthorized() -> Self {
        Self::new(Self::UNAUTHORIZED, "Invalid authorization")
    }

    /// Says that something is not there.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Self::NOT_FOUND, message)
    }

    /// Says that the guardian failed.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Self::INTERNAL, message)
    }

    /// Ends a call that took too long.
    pub fn timeout() -> Self {
        Self::new(Self::TIMEOUT, "Request timeout")
    }
}
