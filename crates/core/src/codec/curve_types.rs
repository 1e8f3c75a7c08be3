//! The curve types of blind signatures, as strings of fixed size.
//!
//! Points are in compressed form, 48 bytes in G1 and 96 in G2, and are checked to lie in the
//! prime-order subgroup; infinity is a value like others. Scalars are 32 bytes, little endian,
//! below the group order.
//!
//! Source: docs/protocol/core.md, section 1.6; docs/protocol/mint.md, section 1.1.

use moneta_crypto::tbs::{
    AggregatePublicKey, BlindedMessage, BlindedSignature, BlindedSignatureShare, BlindingKey,
    Message, PublicKeyShare, SecretKeyShare, Signature,
};
use moneta_crypto::{ReadCurveError, Scalar, ScalarError};

use super::{Decode, DecodeError, Encode, Reader};

impl From<ReadCurveError> for DecodeError {
    fn from(error: ReadCurveError) -> Self {
        Self::Invalid(match error {
            ReadCurveError::OutsideSubgroup => "curve point, it is outside the subgroup",
            ReadCurveError::NonCanonicalScalar => "scalar",
            _ => "curve point",
        })
    }
}

impl From<ScalarError> for DecodeError {
    fn from(_: ScalarError) -> Self {
        Self::Invalid("scalar")
    }
}

macro_rules! impl_curve {
    ($($name:ty),*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                // Ends in a slice both for arrays and for arrays that wipe themselves.
                out.extend_from_slice(&self.to_bytes()[..]);
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let bytes = zeroize::Zeroizing::new(input.take_array()?);
                Ok(Self::from_bytes(&bytes)?)
            }
        }
    )*};
}

impl_curve!(
    Scalar,
    SecretKeyShare,
    BlindingKey,
    PublicKeyShare,
    AggregatePublicKey,
    Message,
    BlindedMessage,
    BlindedSignatureShare,
    BlindedSignature,
    Signature
);
