//! Arithmetic modulo the group order, on canonical little-endian scalars.

pub(crate) use blst::blst_scalar as RawScalar;

/// Whether the number is below the group order. Zero is.
pub(crate) fn is_canonical(scalar: &RawScalar) -> bool {
    // SAFETY: plain read.
    unsafe { blst::blst_scalar_fr_check(scalar) }
}

/// Reduces a little-endian number of 64 bytes by the group order.
pub(crate) fn reduce_wide(bytes: &[u8; 64]) -> RawScalar {
    let mut out = RawScalar::default();
    // SAFETY: `bytes` has the given length. The result says whether it is zero, which is allowed.
    let _nonzero =
        unsafe { blst::blst_scalar_from_le_bytes(&mut out, bytes.as_ptr(), bytes.len()) };
    out
}

pub(crate) fn add(a: &RawScalar, b: &RawScalar) -> RawScalar {
    let mut out = RawScalar::default();
    // SAFETY: valid scalars. The result says whether the sum is zero, which is allowed.
    let _nonzero = unsafe { blst::blst_sk_add_n_check(&mut out, a, b) };
    out
}

pub(crate) fn sub(a: &RawScalar, b: &RawScalar) -> RawScalar {
    let mut out = RawScalar::default();
    // SAFETY: as in `add`.
    let _nonzero = unsafe { blst::blst_sk_sub_n_check(&mut out, a, b) };
    out
}

pub(crate) fn mul(a: &RawScalar, b: &RawScalar) -> RawScalar {
    let mut out = RawScalar::default();
    // SAFETY: as in `add`.
    let _nonzero = unsafe { blst::blst_sk_mul_n_check(&mut out, a, b) };
    out
}

/// The inverse, in constant time; of zero it is zero.
pub(crate) fn invert(a: &RawScalar) -> RawScalar {
    let mut out = RawScalar::default();
    // SAFETY: valid scalars.
    unsafe { blst::blst_sk_inverse(&mut out, a) };
    out
}
