//! The words of a guardian's API: envelopes, errors, endpoint names and the shapes of answers.
//!
//! How they travel (WebSocket, iroh) is the business of the network crate; this folder says only
//! what the JSON looks like.
//!
//! Source: docs/protocol/core.md, sections 7.1, 7.5 and 8; docs/protocol/guardian.md, section 4.

mod admin;
pub mod discovery;
pub mod endpoint;
mod error;
mod request;
mod setup;

pub use admin::{
    AuditView, BackupStatistics, ConnectionType, FederationStatus, GuardianBackup, ModuleAuditView,
    P2pConnection, P2pPeerStatus, PeerConnection, PeerStatus, ServerStatus, StatusView,
};
pub use error::ApiError;
pub use request::{ApiRequest, ApiResponse, Method, MethodCall, MethodNameError};
pub use setup::{LocalParams, LocalParamsError, SetupStatus};
