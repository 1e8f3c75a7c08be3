//! What a guardian deals, and what it deals to each of the others.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;

use super::polynomial::Polynomial;
use super::{Dealing, Shape, ShareError};
use crate::scalar::Scalar;

/// Separates these derivations from every other use of the seed.
const COEFFICIENT_TAG: &[u8] = b"moneta/dkg/coefficient/v1";

/// One guardian in its role as dealer: its secret polynomials.
///
/// Wiped on drop, redacted in `Debug`.
#[derive(Clone)]
pub struct Dealer {
    shape: Shape,
    polynomials: Vec<Polynomial>,
    dealing: Dealing,
}

/// One dealer's shares for one receiver, a scalar per key. Secret unless revealed by a complaint.
///
/// Bytes: the scalars in key order, 32 bytes each, little-endian.
#[derive(Clone, PartialEq, Eq)]
pub struct DealtShares(pub(super) Vec<Scalar>);

impl Dealer {
    /// The dealer that follows from a seed.
    ///
    /// `seed` is 32 uniformly random secret bytes, used for nothing else. `context` names the
    /// ceremony and must be the same for all guardians and new for each attempt, for example the
    /// hash of everyone's setup codes and of the attempt's number. The same arguments give the same
    /// polynomials.
    pub fn from_seed(shape: Shape, peer: u64, context: &[u8; 32], seed: &[u8; 32]) -> Self {
        let coefficient = |key: usize, degree: usize| {
            let mut mac = Hmac::<Sha512>::new_from_slice(seed).expect("HMAC takes any key length");
            mac.update(COEFFICIENT_TAG);
            mac.update(context);
            mac.update(&shape.to_bytes());
            for number in [peer, key as u64, degree as u64] {
                mac.update(&number.to_be_bytes());
            }
            let wide: Zeroizing<[u8; 64]> = Zeroizing::new(mac.finalize().into_bytes().into());
            Scalar::from_wide(&wide)
        };
        let polynomial = |key: usize| {
            Polynomial((0..shape.threshold()).map(|degree| coefficient(key, degree)).collect())
        };
        Self::from_polynomials(shape, (0..shape.keys()).map(polynomial).collect())
    }

    pub(super) fn from_polynomials(shape: Shape, polynomials: Vec<Polynomial>) -> Self {
        let commitments = polynomials.iter().map(Polynomial::commitments).collect();
        Self { shape, polynomials, dealing: Dealing::new(shape, commitments) }
    }

    /// The public commitments to this dealer's polynomials.
    pub fn dealing(&self) -> &Dealing {
        &self.dealing
    }

    /// The shares of one guardian, this one included; also what to reveal when that guardian
    /// complains. `None` if there is no such guardian.
    pub fn shares_for(&self, peer: u64) -> Option<DealtShares> {
        let shares = || self.polynomials.iter().map(|polynomial| polynomial.share(peer)).collect();
        self.shape.contains(peer).then(|| DealtShares(shares()))
    }
}

impl fmt::Debug for Dealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dealer({:?}, redacted)", self.shape)
    }
}

impl DealtShares {
    /// Reads the shares of a ceremony with the given shape.
    ///
    /// Errors: `WrongLength`, `NonCanonical`.
    pub fn from_bytes(shape: Shape, bytes: &[u8]) -> Result<Self, ShareError> {
        let (scalars, rest) = bytes.as_chunks::<{ Scalar::LEN }>();
        if scalars.len() != shape.keys() || !rest.is_empty() {
            return Err(ShareError::WrongLength);
        }
        let read = |(key, bytes): (usize, &[u8; Scalar::LEN])| {
            Scalar::from_bytes(bytes).map_err(|_| ShareError::NonCanonical { key })
        };
        Ok(Self(scalars.iter().enumerate().map(read).collect::<Result<_, _>>()?))
    }

    /// The bytes, wiped on drop.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Reserved at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.0.len() * Scalar::LEN));
        for share in &self.0 {
            bytes.extend_from_slice(&*share.to_bytes());
        }
        bytes
    }
}

impl fmt::Debug for DealtShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DealtShares({} keys, redacted)", self.0.len())
    }
}
