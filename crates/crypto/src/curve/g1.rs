//! The group of messages and signatures, and the map from uniform bytes into it.

use super::{PIPPENGER_FROM, PointError, group, scalar_bits};
use crate::scalar::Scalar;

group!(
    G1,
    blst_p1_affine,
    blst_p1,
    48,
    blst_p1_uncompress,
    blst_p1_affine_compress,
    blst_p1_affine_in_g1,
    blst_p1_affine_is_inf,
    blst_p1_affine_generator,
    blst_p1_mult,
    blst_p1_add_or_double,
    blst_p1_from_affine,
    blst_p1_to_affine,
    blst_p1s_mult_pippenger,
    blst_p1s_mult_pippenger_scratch_sizeof
);

impl G1 {
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut negated = *other;
        // SAFETY: negation of a field element; the point of infinity, all zero, stays what it is.
        unsafe { blst::blst_fp_cneg(&mut negated.0.y, &other.0.y, true) };
        self.plus(&negated)
    }
}

/// `1 - z` for the (negative) BLS parameter z, little-endian: the effective cofactor of G1.
const EFFECTIVE_COFACTOR_LE: [u8; 8] = 0xd201_0000_0001_0001_u64.to_le_bytes();

/// The curve is y^2 = x^3 + 4. Little-endian limbs.
const CURVE_B: [u64; 6] = [4, 0, 0, 0, 0, 0];

/// One try of the map to the curve: the point with x coordinate `x_wide` (big-endian, reduced by the
/// field modulus), y the principal square root, negated if `negate`, cofactor cleared.
///
/// `None` if there is no such point or it clears to infinity; the caller tries the next bytes.
/// Source: docs/protocol/mint.md, section 1.2.
pub(crate) fn map_to_curve(x_wide: &[u8; 96], negate: bool) -> Option<G1> {
    let mut x = blst::blst_fp::default();
    let mut curve_b = blst::blst_fp::default();
    let mut y_squared = blst::blst_fp::default();
    let mut y = blst::blst_fp::default();
    // SAFETY: `x_wide` has the given length; the field functions allow operands to alias.
    let has_root = unsafe {
        blst::blst_fp_from_be_bytes(&mut x, x_wide.as_ptr(), x_wide.len());
        blst::blst_fp_sqr(&mut y_squared, &x);
        blst::blst_fp_mul(&mut y_squared, &y_squared, &x);
        blst::blst_fp_from_uint64(&mut curve_b, CURVE_B.as_ptr());
        blst::blst_fp_add(&mut y_squared, &y_squared, &curve_b);
        // The library's root is w^((p+1)/4), which is the principal one the protocol asks for.
        blst::blst_fp_sqrt(&mut y, &y_squared)
    };
    if !has_root {
        return None;
    }
    // SAFETY: in-place negation of a field element.
    unsafe { blst::blst_fp_cneg(&mut y, &y, negate) };
    let on_curve = G1(blst::blst_p1_affine { x, y }).jacobian();
    let mut cleared = blst::blst_p1::default();
    // The point is outside the subgroup here, so the 64-bit path is required: the 255-bit one uses
    // an endomorphism that is wrong for such points.
    // SAFETY: the scalar has 64 bits.
    unsafe {
        blst::blst_p1_unchecked_mult(&mut cleared, &on_curve, EFFECTIVE_COFACTOR_LE.as_ptr(), 64);
    }
    let point = G1::affine(&cleared);
    (!point.is_infinity()).then_some(point)
}
