//! Products of pairings.

use super::{G1, G2};

/// A product of pairings before the final exponentiation.
#[derive(Clone, Copy)]
pub(crate) struct PairingProduct(blst::blst_fp12);

impl PairingProduct {
    /// The product of `e(P, Q)` over `pairs`. Pairs with infinity count as one.
    pub(crate) fn of(pairs: &[(G1, G2)]) -> Self {
        let (ps, qs): (Vec<_>, Vec<_>) = pairs
            .iter()
            .filter(|(p, q)| !p.is_infinity() && !q.is_infinity())
            .map(|(p, q)| (p.0, q.0))
            .unzip();
        if ps.is_empty() {
            return Self::one();
        }
        let mut product = blst::blst_fp12::default();
        let q_list = [qs.as_ptr(), std::ptr::null()];
        let p_list = [ps.as_ptr(), std::ptr::null()];
        // SAFETY: both lists describe `ps.len()` contiguous points, none of them infinity; null in
        // second place says that they are contiguous.
        unsafe {
            blst::blst_miller_loop_n(&mut product, q_list.as_ptr(), p_list.as_ptr(), ps.len());
        }
        Self(product)
    }

    pub(crate) fn one() -> Self {
        // SAFETY: the function returns a pointer to a static of the library.
        Self(unsafe { *blst::blst_fp12_one() })
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut product = blst::blst_fp12::default();
        // SAFETY: three valid field elements.
        unsafe { blst::blst_fp12_mul(&mut product, &self.0, &other.0) };
        Self(product)
    }

    /// Whether the product is one in the target group.
    pub(crate) fn is_one(&self) -> bool {
        let mut result = blst::blst_fp12::default();
        // SAFETY: valid field elements.
        unsafe {
            blst::blst_final_exp(&mut result, &self.0);
            blst::blst_fp12_is_one(&result)
        }
    }
}

/// Whether `e(message, key) = e(signature, g2)`.
pub(crate) fn signature_holds(key: &G2, message: &G1, signature: &G1) -> bool {
    PairingProduct::of(&[(*message, *key), (*signature, G2::negated_generator())]).is_one()
}
