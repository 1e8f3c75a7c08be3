//! The group of public keys.

use super::{PIPPENGER_FROM, PointError, group, scalar_bits};
use crate::scalar::Scalar;

group!(
    G2,
    blst_p2_affine,
    blst_p2,
    96,
    blst_p2_uncompress,
    blst_p2_affine_compress,
    blst_p2_affine_in_g2,
    blst_p2_affine_is_inf,
    blst_p2_affine_generator,
    blst_p2_mult,
    blst_p2_add_or_double,
    blst_p2_from_affine,
    blst_p2_to_affine,
    blst_p2s_mult_pippenger,
    blst_p2s_mult_pippenger_scratch_sizeof
);

impl G2 {
    /// The negated generator, which moves the right side of a pairing equation to the left.
    pub(crate) fn negated_generator() -> Self {
        // SAFETY: reads a constant of the library.
        Self(unsafe { blst::BLS12_381_NEG_G2 })
    }
}
