//! Secret polynomials.

use crate::curve::G2;
use crate::scalar::Scalar;

/// A polynomial over the scalars, lowest coefficient first.
#[derive(Clone)]
pub(super) struct Polynomial(pub(super) Vec<Scalar>);

impl Polynomial {
    /// The value at the point of a guardian.
    pub(super) fn share(&self, peer: u64) -> Scalar {
        let x = Scalar::from(point(peer));
        self.0.iter().rev().fold(Scalar::from(0), |value, next| value.times(&x).plus(next))
    }

    /// The coefficients times the generator.
    pub(super) fn commitments(&self) -> Vec<G2> {
        self.0.iter().map(|coefficient| G2::generator().times(coefficient)).collect()
    }
}

/// Where a guardian's share is evaluated. Zero would be the secret itself.
///
/// Only for indices of a [`super::Shape`], which are small.
pub(super) fn point(peer: u64) -> u64 {
    peer + 1
}
