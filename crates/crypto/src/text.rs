//! Curve values as text: plain hex of the bytes, written in lower case, read in any case.
//!
//! Source: docs/protocol/mint.md, sections 0 and 1.1.

use std::fmt;

use serde::de;
use zeroize::Zeroizing;

/// Why bytes or text are not a value of the curve. Always final: the input is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadCurveError {
    /// Refused: not the canonical compressed form of a point on the curve.
    #[error("not a canonical compressed curve point")]
    Malformed,
    /// Refused: the point is on the curve, but not in the subgroup of prime order.
    #[error("the point is outside the prime-order subgroup")]
    OutsideSubgroup,
    /// Refused: the scalar is not below the group order.
    #[error("the scalar is not below the group order")]
    NonCanonicalScalar,
    /// Refused: the text is not hex of exactly the right number of bytes.
    #[error("expected hex of {expected_bytes} bytes")]
    Hex {
        /// Length of the value in bytes.
        expected_bytes: usize,
    },
}

impl From<crate::curve::PointError> for ReadCurveError {
    fn from(error: crate::curve::PointError) -> Self {
        match error {
            crate::curve::PointError::Malformed => Self::Malformed,
            crate::curve::PointError::OutsideSubgroup => Self::OutsideSubgroup,
        }
    }
}

impl From<crate::ScalarError> for ReadCurveError {
    fn from(_: crate::ScalarError) -> Self {
        Self::NonCanonicalScalar
    }
}

/// Reads hex of exactly `N` bytes, in upper, lower or mixed case.
pub(crate) fn read_hex<const N: usize>(text: &str) -> Result<Zeroizing<[u8; N]>, ReadCurveError> {
    let mut bytes = Zeroizing::new([0; N]);
    match hex::decode_to_slice(text, bytes.as_mut()) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(ReadCurveError::Hex { expected_bytes: N }),
    }
}

/// Reads a string by `FromStr`, without keeping a copy of it.
pub(crate) struct FromText<T>(pub(crate) std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err = ReadCurveError>> de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of hex")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
