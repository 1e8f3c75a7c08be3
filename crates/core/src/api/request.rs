//! The envelope around every call, and how methods are named.
//!
//! Source: docs/protocol/core.md, sections 7.1, 7.2 and 7.5.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ApiError;
use crate::{ModuleInstanceId, Secret};

/// The envelope around the parameter of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiRequest {
    /// The guardian's password, for admin endpoints.
    pub auth: Option<Secret>,
    /// The parameter; null for endpoints without one. Must be present.
    pub params: Value,
}

impl ApiRequest {
    /// A call without a password.
    pub fn new(params: Value) -> Self {
        Self { auth: None, params }
    }

    /// A call with the guardian's password.
    pub fn with_password(params: Value, password: Secret) -> Self {
        Self { auth: Some(password), params }
    }

    /// Reads the parameter. Endpoints without one read `()`, which takes null alone.
    ///
    /// Errors: code 400.
    pub fn parse_params<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.params).map_err(ApiError::bad_request)
    }

    /// Checks the password of an admin call in constant time.
    ///
    /// Errors: code 401, also for every call if the guardian has no password.
    pub fn check_password(&self, guardian: Option<&Secret>) -> Result<(), ApiError> {
        match (&self.auth, guardian) {
            (Some(given), Some(wanted)) if given.matches(wanted) => Ok(()),
            _ => Err(ApiError::unauthorized()),
        }
    }
}

/// What is called: an endpoint of the guardian itself, or of one of its modules.
///
/// JSON is the iroh form, `{"Core": name}` or `{"Module": [instance, name]}`. `Display` and
/// `FromStr` are the WebSocket form, `name` or `module_<instance>_<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Of the guardian.
    Core(String),
    /// Of a module.
    Module(ModuleInstanceId, String),
}

/// The text is no method name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a method name")]
pub struct MethodNameError;

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(name) => f.write_str(name),
            Self::Module(instance, name) => write!(f, "module_{instance}_{name}"),
        }
    }
}

impl FromStr for Method {
    type Err = MethodNameError;

    fn from_str(text: &str) -> Result<Self, MethodNameError> {
        let known = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_');
        if text.is_empty() || !text.bytes().all(known) {
            return Err(MethodNameError);
        }
        let Some(rest) = text.strip_prefix("module_") else {
            return Ok(Self::Core(text.to_owned()));
        };
        let (instance, name) = rest.split_once('_').ok_or(MethodNameError)?;
        // One spelling per instance, so that "module_01_x" names nothing.
        let number = instance.parse::<u16>().map_err(|_| MethodNameError)?;
        if name.is_empty() || number.to_string() != instance {
            return Err(MethodNameError);
        }
        Ok(Self::Module(ModuleInstanceId::new(number), name.to_owned()))
    }
}

/// A whole call over iroh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodCall {
    /// What is called.
    pub method: Method,
    /// With what.
    pub request: ApiRequest,
}

/// The answer over iroh: `{"Ok": value}` or `{"Err": {"code", "message"}}`.
pub type ApiResponse = Result<Value, ApiError>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn method_names_round_trip() {
        for name in ["session_count", "module_0_note_spent", "module_65534_x"] {
            assert_eq!(name.parse::<Method>().unwrap().to_string(), name);
        }
        let spent = Method::Module(ModuleInstanceId::new(7), "note_spent".to_owned());
        assert_eq!("module_7_note_spent".parse(), Ok(spent));
    }

    #[test]
    fn malformed_method_names_are_refused() {
        for name in ["", "Session", "module_", "module_1", "module_1_", "module_01_x", "a b"] {
            assert_eq!(name.parse::<Method>(), Err(MethodNameError), "{name}");
        }
    }

    #[test]
    fn password_is_refused_unless_it_is_the_guardians() {
        let call = |password: &str| ApiRequest::with_password(Value::Null, Secret::new(password));
        let guardian = Secret::new("pw");
        assert_eq!(call("pw").check_password(Some(&guardian)), Ok(()));
        assert!(call("pw2").check_password(Some(&guardian)).is_err());
        assert!(ApiRequest::new(Value::Null).check_password(Some(&guardian)).is_err());
        assert!(call("pw").check_password(None).is_err(), "a guardian without password");
        assert!(!format!("{:?}", call("hunter2")).contains("hunter2"));
    }
}
