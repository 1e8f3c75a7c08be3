//! Text forms of encoded values.
//!
//! Source: docs/protocol/core.md, section 1.8.

pub mod base32;
mod json;

pub use json::{MeBase64, MeHex, hex_bytes, hex_encoded};

use crate::codec::{Decode, DecodeError, Encode};

/// What a text in the prefixed base32 form begins with.
const BASE32_PREFIX: &str = "fedimint";

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Not hex.
    #[error("not hex")]
    Hex,
    /// Not base64 in the URL-safe alphabet without padding.
    #[error("not base64")]
    Base64,
    /// A character outside the base32 alphabet.
    #[error("not base32")]
    Base32,
    /// The prefix is missing.
    #[error("the prefix is missing")]
    Prefix,
    /// The bytes are not an encoding of the expected type.
    #[error("the content is malformed: {0}")]
    Content(#[from] DecodeError),
}

/// Returns the encoding of `value` in lower-case hex.
///
/// Not for a bare `bitcoin::Txid`, whose protocol text is its display form.
pub fn to_hex<T: Encode + ?Sized>(value: &T) -> String {
    hex::encode(value.to_bytes())
}

/// Reads a value from hex of either case.
///
/// Errors: `Hex`, `Content` (also for leftover bytes).
pub fn from_hex<T: Decode>(text: &str) -> Result<T, TextError> {
    Ok(T::from_bytes(&hex::decode(text).map_err(|_| TextError::Hex)?)?)
}

/// Returns the encoding of `value` in base32, behind the literal `fedimint`.
pub fn encode_prefixed<T: Encode + ?Sized>(value: &T) -> String {
    format!("{BASE32_PREFIX}{}", base32::encode(&value.to_bytes()))
}

/// Reads a value from the prefixed base32 form, in either case.
///
/// Errors: `Prefix`, `Base32`, `Content` (also for leftover bytes).
pub fn decode_prefixed<T: Decode>(text: &str) -> Result<T, TextError> {
    let text = text.to_lowercase();
    let digits = text.strip_prefix(BASE32_PREFIX).ok_or(TextError::Prefix)?;
    Ok(T::from_bytes(&base32::decode(digits)?)?)
}
