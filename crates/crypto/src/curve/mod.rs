//! Safe wrappers over the few `blst` functions this crate needs.
//!
//! This module is the only one with `unsafe`. Every block is a call into `blst`'s C interface with
//! pointers to values that live across the call; `blst` keeps none of them. All values are plain
//! integers in arrays, so an all-zero value is a valid one (for points: infinity).
//!
//! Points are affine and always in the prime-order subgroup. The only way around the check is
//! [`g1::map_to_curve`], which clears the cofactor.
#![allow(unsafe_code)]

pub(crate) mod field;
pub(crate) mod g1;
pub(crate) mod g2;
pub(crate) mod pairing;
#[cfg(test)]
mod tests;

pub(crate) use g1::G1;
pub(crate) use g2::G2;

/// Implements what both groups share, so that G1 and G2 cannot drift apart.
///
/// `$point` is the affine wrapper, `$bytes` its compressed length; the rest are names of `blst`.
macro_rules! group {
    ($point:ident, $affine:ident, $jacobian:ident, $bytes:literal,
     $uncompress:ident, $compress:ident, $in_group:ident, $is_inf:ident, $generator:ident,
     $mult:ident, $add:ident, $from_affine:ident, $to_affine:ident,
     $pippenger:ident, $scratch_sizeof:ident) => {
        /// An affine point of the prime-order subgroup; the default value is infinity.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $point(pub(super) blst::$affine);

        #[allow(dead_code, reason = "both groups offer the same, and keys are made in G2 alone")]
        impl $point {
            /// Length of the compressed form.
            pub(crate) const LEN: usize = $bytes;

            /// Reads the compressed form: compression bit set, x below the modulus, infinity only
            /// as its one canonical encoding, point on the curve and in the subgroup.
            pub(crate) fn from_compressed(bytes: &[u8; $bytes]) -> Result<Self, PointError> {
                let mut point = blst::$affine::default();
                // SAFETY: `bytes` has the compressed length; both pointers are valid here.
                let code = unsafe { blst::$uncompress(&mut point, bytes.as_ptr()) };
                match code {
                    blst::BLST_ERROR::BLST_SUCCESS => {}
                    blst::BLST_ERROR::BLST_POINT_NOT_IN_GROUP => {
                        return Err(PointError::OutsideSubgroup);
                    }
                    _ => return Err(PointError::Malformed),
                }
                // SAFETY: `point` was filled by the successful call above.
                if unsafe { blst::$in_group(&point) } {
                    Ok(Self(point))
                } else {
                    Err(PointError::OutsideSubgroup)
                }
            }

            /// The compressed form; infinity is `c0` followed by zeros.
            pub(crate) fn to_compressed(self) -> [u8; $bytes] {
                let mut bytes = [0; $bytes];
                // SAFETY: `bytes` has the length the function writes.
                unsafe { blst::$compress(bytes.as_mut_ptr(), &self.0) };
                bytes
            }

            /// The standard generator.
            pub(crate) fn generator() -> Self {
                // SAFETY: the function returns a pointer to a static of the library.
                Self(unsafe { *blst::$generator() })
            }

            pub(crate) fn is_infinity(&self) -> bool {
                // SAFETY: plain read of a valid point.
                unsafe { blst::$is_inf(&self.0) }
            }

            /// Scalar multiple, constant time in the scalar.
            pub(crate) fn times(&self, scalar: &Scalar) -> Self {
                Self::affine(&self.times_bytes(scalar.as_le_bytes(), 255))
            }

            /// Multiple by a small public number; faster the smaller the number is.
            pub(crate) fn times_u64(&self, factor: u64) -> Self {
                let bits = (u64::BITS - factor.leading_zeros()) as usize;
                Self::affine(&self.times_bytes(&factor.to_le_bytes(), bits))
            }

            pub(crate) fn plus(&self, other: &Self) -> Self {
                let mut sum = blst::$jacobian::default();
                // SAFETY: `add_or_double` takes any two points of the group.
                unsafe { blst::$add(&mut sum, &self.jacobian(), &other.jacobian()) };
                Self::affine(&sum)
            }

            /// Value at `x` of the polynomial whose coefficients are committed to, lowest first.
            pub(crate) fn evaluate(commitments: &[$point], x: u64) -> Self {
                commitments
                    .iter()
                    .rev()
                    .fold($point::default(), |value, next| value.times_u64(x).plus(next))
            }

            /// Sum of the multiples of public points by public little-endian factors of `N` bytes.
            /// Not constant time.
            pub(crate) fn lincomb<const N: usize>(terms: &[($point, [u8; N])]) -> Self {
                let (points, factors): (Vec<_>, Vec<_>) = terms
                    .iter()
                    .filter(|(point, _)| !point.is_infinity())
                    .map(|(point, factor)| (point.0, *factor))
                    .unzip();
                let mut sum = blst::$jacobian::default();
                if points.len() < PIPPENGER_FROM {
                    for (point, factor) in points.iter().zip(&factors) {
                        let multiple = $point(*point).times_bytes(factor, scalar_bits(N));
                        // SAFETY: `add_or_double` allows operands to be equal and to alias.
                        unsafe { blst::$add(&mut sum, &sum, &multiple) };
                    }
                } else {
                    // A null pointer in second place tells the library that the rest follows
                    // contiguously after the first.
                    let point_list = [points.as_ptr(), std::ptr::null()];
                    let factor_list = [factors.as_ptr().cast::<u8>(), std::ptr::null()];
                    // SAFETY: no arguments that could be invalid.
                    let scratch_bytes = unsafe { blst::$scratch_sizeof(points.len()) };
                    let mut scratch =
                        vec![0 as blst::limb_t; scratch_bytes / size_of::<blst::limb_t>() + 1];
                    // SAFETY: both lists describe `points.len()` contiguous elements (a factor is
                    // N bytes, which is what the library computes from the bit count), and the
                    // scratch space has the size asked for and the alignment of a limb.
                    unsafe {
                        blst::$pippenger(
                            &mut sum,
                            point_list.as_ptr(),
                            points.len(),
                            factor_list.as_ptr(),
                            scalar_bits(N),
                            scratch.as_mut_ptr(),
                        );
                    }
                }
                Self::affine(&sum)
            }

            /// `bytes` holds at least `bits` bits, least significant byte first.
            fn times_bytes(&self, bytes: &[u8], bits: usize) -> blst::$jacobian {
                debug_assert!(bits.div_ceil(8) <= bytes.len());
                let mut product = blst::$jacobian::default();
                // SAFETY: the library reads `bits` bits of `bytes`; the point is in the subgroup,
                // which its fast path needs.
                unsafe {
                    blst::$mult(&mut product, &self.jacobian(), bytes.as_ptr(), bits);
                }
                product
            }

            fn jacobian(&self) -> blst::$jacobian {
                let mut point = blst::$jacobian::default();
                // SAFETY: two valid points.
                unsafe { blst::$from_affine(&mut point, &self.0) };
                point
            }

            pub(super) fn affine(point: &blst::$jacobian) -> Self {
                let mut affine = blst::$affine::default();
                // SAFETY: two valid points.
                unsafe { blst::$to_affine(&mut affine, point) };
                Self(affine)
            }
        }
    };
}
use group;

/// Below this many points, separate multiplications are faster than the bucket method.
const PIPPENGER_FROM: usize = 5;

/// Bits of a factor of `bytes` bytes; a full scalar is below the group order, thus 255 bits.
const fn scalar_bits(bytes: usize) -> usize {
    if bytes == 32 { 255 } else { bytes * 8 }
}

/// Why bytes are not a point of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointError {
    /// Not a canonical compressed point of the curve.
    Malformed,
    /// On the curve, but not in the subgroup of prime order.
    OutsideSubgroup,
}
