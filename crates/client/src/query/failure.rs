//! How a call to one guardian fails.

use moneta_core::api::ApiError;

/// Codes after which the same call may well succeed: a handler that took too long, a handler that
/// broke, and a server with its hands full. None is the guardian's word on the call.
const NOT_NOW: [i32; 3] = [ApiError::TIMEOUT, ApiError::INTERNAL, -32_009];

/// Why a call to one guardian brought no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallFailure {
    /// Unavailable: there was no answer, or the guardian could not give one now. Whether the call
    /// had an effect is unknown; it is made again.
    #[error("no answer: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// Refused: the guardian answered with an error.
    #[error("refused with code {code}: {message}")]
    Refused {
        /// As on the wire (core.md 7.1 and 7.2).
        code: i32,
        /// Its text.
        message: String,
    },
}

impl CallFailure {
    /// No answer came.
    pub fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    /// Sorts an error that a guardian answered with: `-32000` (timeout of a long poll), 500 (the
    /// handler broke, or has no chain backend yet) and `-32009` (too busy) are no refusals.
    pub fn from_answer(error: ApiError) -> Self {
        let ApiError { code, message } = error;
        match NOT_NOW.contains(&code) {
            true => Self::Unavailable { reason: format!("{message} (code {code})") },
            false => Self::Refused { code, message },
        }
    }
}
