//! Ids that are hashes.

use std::fmt;
use std::str::FromStr;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash as _, sha256};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{TextError, from_hex};
use crate::{Decode, Encode};

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Encoding: 32 bytes. Text and JSON: their hex, in natural order.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub const fn as_byte_array(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<sha256::Hash> for $name {
            fn from(hash: sha256::Hash) -> Self {
                Self(hash.to_byte_array())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                from_hex(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

hash_id! {
    /// A federation transaction: the hash of its inputs, outputs and nonce.
    TransactionId
}

hash_id! {
    /// A federation: the hash of the endpoints and names fixed at setup (section 2.2).
    FederationId
}

hash_id! {
    /// Something a client does over time. Known to that client alone; often a transaction id.
    OperationId
}

impl FederationId {
    /// The first four bytes.
    #[must_use]
    pub const fn prefix(&self) -> FederationIdPrefix {
        let [a, b, c, d, ..] = self.0;
        FederationIdPrefix([a, b, c, d])
    }
}

impl OperationId {
    /// The id of the operation about `value`: its hash.
    #[must_use]
    pub fn from_encodable<T: Encode + ?Sized>(value: &T) -> Self {
        value.consensus_hash().into()
    }
}

impl From<TransactionId> for OperationId {
    fn from(txid: TransactionId) -> Self {
        Self(txid.0)
    }
}

/// The first four bytes of a federation id, enough to tell which federation a note is of.
///
/// JSON: an array of four numbers.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FederationIdPrefix(pub [u8; 4]);

impl fmt::Display for FederationIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FederationIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FederationIdPrefix({self})")
    }
}

/// The chain a federation holds its coins on: the hash of its block 1. (Block 0 does not tell
/// signets apart.)
///
/// Encoding: 32 bytes in internal order. Text and JSON: hex in the order of block explorers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ChainId(pub BlockHash);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
