//! Numbers modulo the group order of BLS12-381.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::curve::field::{self, RawScalar};

/// A number modulo `r`, the order of the BLS12-381 groups.
///
/// Treated as a secret whatever it holds: wiped on drop, redacted in `Debug`, compared in constant
/// time. Bytes are 32, little-endian and canonical (below `r`); zero is allowed.
/// Source: docs/protocol/mint.md, section 1.1.
#[derive(Clone)]
pub struct Scalar(RawScalar);

/// The number is not below the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scalar is not below the group order")]
pub struct ScalarError;

impl Scalar {
    /// Length of the byte form.
    pub const LEN: usize = 32;

    /// Reads 32 little-endian bytes.
    ///
    /// Errors: [`ScalarError`] if the number is not below the group order.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, ScalarError> {
        let raw = RawScalar { b: *bytes };
        if field::is_canonical(&raw) { Ok(Self(raw)) } else { Err(ScalarError) }
    }

    /// The 32 little-endian bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        Zeroizing::new(self.0.b)
    }

    /// Reduces 64 uniform little-endian bytes by the group order; the bias is negligible.
    ///
    /// Source: docs/protocol/core.md, section 9.4.
    pub fn from_wide(bytes: &[u8; 64]) -> Self {
        Self(field::reduce_wide(bytes))
    }

    /// Draws a uniform scalar.
    pub fn random(rng: &mut (impl rand::RngCore + rand::CryptoRng)) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        rng.fill_bytes(wide.as_mut());
        Self::from_wide(&wide)
    }

    /// Whether this is zero.
    pub fn is_zero(&self) -> bool {
        self.0.b.ct_eq(&[0; Self::LEN]).into()
    }

    pub(crate) fn as_le_bytes(&self) -> &[u8; Self::LEN] {
        &self.0.b
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self(field::add(&self.0, &other.0))
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self(field::sub(&self.0, &other.0))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        Self(field::mul(&self.0, &other.0))
    }

    /// The inverse; of zero it is zero.
    pub(crate) fn inverse(&self) -> Self {
        Self(field::invert(&self.0))
    }
}

impl From<u64> for Scalar {
    fn from(number: u64) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(RawScalar { b: bytes })
    }
}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.b.ct_eq(&other.0.b)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Scalar {}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The group order, little-endian.
    const ORDER_HEX: &str = "01000000fffffffffe5bfeff02a4bd5305d8a10908d83933487d9d2953a7ed73";

    fn bytes(hex_text: &str) -> [u8; 32] {
        hex::decode(hex_text).expect("hex").try_into().expect("32 bytes")
    }

    #[test]
    fn order_and_above_are_refused_and_one_below_is_accepted() {
        let mut number = bytes(ORDER_HEX);
        assert_eq!(Scalar::from_bytes(&number), Err(ScalarError));
        assert_eq!(Scalar::from_bytes(&[0xff; 32]), Err(ScalarError));
        number[0] = 0;
        let minus_one = Scalar::from_bytes(&number).expect("canonical");
        assert!(minus_one.plus(&Scalar::from(1)).is_zero());
    }

    #[test]
    fn inverse_times_number_is_one() {
        let number = Scalar::from_wide(&[7; 64]);
        assert_eq!(number.times(&number.inverse()), Scalar::from(1));
        assert!(Scalar::from(0).inverse().is_zero());
    }

    #[test]
    fn difference_wraps_around_zero() {
        let difference = Scalar::from(1).minus(&Scalar::from(3));
        assert!(difference.plus(&Scalar::from(2)).is_zero());
    }

    #[test]
    fn debug_shows_no_digits() {
        assert_eq!(format!("{:?}", Scalar::from(77)), "Scalar(redacted)");
    }
}
