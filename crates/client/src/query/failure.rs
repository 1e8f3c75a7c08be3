//! How a call to one guardian fails.

use moneta_core::api::ApiError;

/// How much of a guardian's text is kept, in characters: enough to find out what it means.
const TEXT_CHARS: usize = 300;

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
        Self::Unavailable { reason: harmless(&reason.to_string()) }
    }

    /// Sorts an error that a guardian answered with: `-32000` (timeout of a long poll), 500 (the
    /// handler broke, or has no chain backend yet) and `-32009` (too busy) are no refusals.
    pub fn from_answer(error: ApiError) -> Self {
        let ApiError { code, message } = error;
        let message = harmless(&message);
        match NOT_NOW.contains(&code) {
            true => Self::Unavailable { reason: format!("{message} (code {code})") },
            false => Self::Refused { code, message },
        }
    }
}

/// The beginning of a text from outside, without what could steer a terminal: a guardian's words end
/// up in logs and on screens.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_CHARS).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_guardian_are_cut_short_and_cannot_steer_a_terminal() {
        let message = format!("\u{1b}[2Jno{}", "!".repeat(10_000_000));
        let failure = CallFailure::from_answer(ApiError { code: 400, message });
        let CallFailure::Refused { message, .. } = failure else { panic!("400 is a refusal") };
        assert!(message.starts_with(" [2Jno!"));
        assert_eq!(message.len(), TEXT_CHARS);
    }
}
