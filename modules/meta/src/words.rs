//! The module's values on the wire.
//!
//! Source: docs/protocol/guardian.md, sections 6.1 to 6.3.

use std::fmt;

use moneta_core::version::{ApiVersion, ModuleConsensusVersion};
use moneta_core::{Decode, Encode, ModuleKind, hex_bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind string.
pub const KIND: ModuleKind = ModuleKind::from_static("meta");
/// Version in the configs of federations.
pub const CONSENSUS_VERSION: ModuleConsensusVersion = ModuleConsensusVersion::new(0, 0);
/// Version of the endpoints.
pub const API_VERSION: ApiVersion = ApiVersion::new(0, 0);

/// The largest value a guardian may wish for, in bytes. A value must fit into one consensus unit
/// of 50,000 bytes with its item around it; anything larger would never be ordered.
pub const MAX_VALUE_BYTES: usize = 48_000;

/// Which value. One raw byte on the wire, a number in JSON.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MetaKey(pub u8);

/// The key of the federation's metadata.
pub const FEDERATION_METADATA: MetaKey = MetaKey(0);

/// An opaque value. A byte vector on the wire, lowercase hex in JSON.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetaValue(#[serde(with = "hex_bytes")] pub Vec<u8>);

impl MetaValue {
    /// Reads the value as a JSON object, the form of the federation's metadata. Members that are
    /// strings and parse as JSON themselves are replaced by what they parse to (guardian.md 6.5).
    ///
    /// Errors: `None` if the value is not a JSON object.
    pub fn to_fields(&self) -> Option<Map<String, Value>> {
        let fields: Map<String, Value> = serde_json::from_slice(&self.0).ok()?;
        let unwrap = |value: Value| match &value {
            Value::String(text) => serde_json::from_str(text).unwrap_or(value),
            _ => value,
        };
        Some(fields.into_iter().map(|(name, value)| (name, unwrap(value))).collect())
    }
}

impl fmt::Debug for MetaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetaValue({} bytes)", self.0.len())
    }
}

/// One guardian's vote. The salt keeps equal votes of one session apart.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MetaItem {
    /// Without meaning.
    pub salt: u64,
    /// For which value.
    pub key: MetaKey,
    /// The wish.
    pub value: MetaValue,
}

/// What is agreed under a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct ConsensusValue {
    /// 0 for the first agreed value, then counting up.
    pub revision: u64,
    /// The value.
    pub value: MetaValue,
}

/// A guardian's wish for a key, as `submit` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitRequest {
    /// Which value.
    pub key: MetaKey,
    /// What it should be.
    pub value: MetaValue,
}

/// The client config: no fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MetaConfig {}

/// Inputs and outputs exist as types without content; they are never accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct NoValue {}

/// Why an input is refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum MetaInputError {
    /// Always.
    #[error("This module does not support inputs")]
    NotSupported,
}

/// Why an output is refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum MetaOutputError {
    /// Always.
    #[error("This module does not support outputs")]
    NotSupported,
}
