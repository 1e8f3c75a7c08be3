//! The values of the scheme and their byte and text forms.
//!
//! Each role has its own type, because all of them are the same few points and scalars and a
//! message in the place of a signature must not compile. The macros below write out what the types
//! of one kind share.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::curve::{G1, G2};
use crate::scalar::Scalar;
use crate::text::{FromText, ReadCurveError, read_hex};

macro_rules! point {
    ($(#[$text:meta])* $name:ident, $group:ident) => {
        $(#[$text])*
        ///
        /// A point of the prime-order subgroup; infinity is a legal value. Bytes: the usual
        /// compressed form. Order and hash are those of the bytes. JSON: lowercase hex.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub(crate) $group);

        impl $name {
            /// Length of the byte form.
            pub const LEN: usize = $group::LEN;

            /// Reads the compressed form.
            ///
            /// Errors: `Malformed` or `OutsideSubgroup`; infinity is accepted in its one canonical
            /// form.
            pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, ReadCurveError> {
                Ok(Self($group::from_compressed(bytes)?))
            }

            /// The compressed form.
            pub fn to_bytes(&self) -> [u8; Self::LEN] {
                self.0.to_compressed()
            }

            /// Whether this is the point at infinity.
            pub fn is_infinity(&self) -> bool {
                self.0.is_infinity()
            }
        }

        impl FromStr for $name {
            type Err = ReadCurveError;

            fn from_str(text: &str) -> Result<Self, ReadCurveError> {
                Self::from_bytes(&*read_hex(text)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.to_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let bytes = self.to_bytes();
                write!(f, concat!(stringify!($name), "({}..)"), hex::encode(&bytes[..8]))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.to_bytes().cmp(&other.to_bytes())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.to_bytes().hash(state);
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&hex::encode(self.to_bytes()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FromText(PhantomData))
            }
        }
    };
}

macro_rules! secret {
    ($(#[$text:meta])* $name:ident) => {
        $(#[$text])*
        ///
        /// A secret: wiped on drop, redacted in `Debug`, compared in constant time. Bytes: 32,
        /// little-endian, below the group order. JSON: lowercase hex of these bytes.
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub(crate) Scalar);

        impl $name {
            /// Length of the byte form.
            pub const LEN: usize = Scalar::LEN;

            /// Reads 32 little-endian bytes.
            ///
            /// Errors: `NonCanonicalScalar` if the number is not below the group order.
            pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, ReadCurveError> {
                Ok(Self(Scalar::from_bytes(bytes)?))
            }

            /// The 32 little-endian bytes.
            pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
                self.0.to_bytes()
            }
        }

        impl From<Scalar> for $name {
            fn from(scalar: Scalar) -> Self {
                Self(scalar)
            }
        }

        impl ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> Choice {
                self.0.ct_eq(&other.0)
            }
        }

        impl FromStr for $name {
            type Err = ReadCurveError;

            fn from_str(text: &str) -> Result<Self, ReadCurveError> {
                Self::from_bytes(&*read_hex(text)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&Zeroizing::new(hex::encode(self.to_bytes())))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FromText(PhantomData))
            }
        }
    };
}

secret! {
    /// One guardian's secret: the value of the key polynomial at the guardian's index plus one.
    SecretKeyShare
}

secret! {
    /// The user's factor that hides a message from the guardians.
    BlindingKey
}

point! {
    /// One guardian's public key, `s_i * g2`.
    PublicKeyShare, G2
}

point! {
    /// The federation's public key of one denomination.
    AggregatePublicKey, G2
}

point! {
    /// What a note signature signs: the hash of the note's nonce.
    Message, G1
}

point! {
    /// A message multiplied by a blinding key; all that guardians see when they sign.
    BlindedMessage, G1
}

point! {
    /// One guardian's signature over a blinded message.
    BlindedSignatureShare, G1
}

point! {
    /// The federation's signature over a blinded message, combined from shares.
    BlindedSignature, G1
}

point! {
    /// The federation's signature over a message: what makes a note worth its face value.
    Signature, G1
}
