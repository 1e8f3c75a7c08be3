//! Names of things: peers, modules, transactions, federations.
//!
//! Source: docs/protocol/core.md, section 2.

mod hash;
mod point;

pub use hash::{ChainId, FederationId, FederationIdPrefix, OperationId, TransactionId};
pub use point::{IdxRange, InPoint, OutPoint, OutPointRange};

use std::borrow::Cow;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Decode, Encode};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        ///
        /// Encoding: an integer. JSON: a number, or a decimal string as a map key.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl $name {
            /// The id with this number.
            #[must_use]
            pub const fn new(number: $number) -> Self {
                Self(number)
            }
        }

        impl From<$number> for $name {
            fn from(number: $number) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number_id! {
    /// A guardian's number in its federation, counted from 0 without gaps.
    PeerId(u16)
}

number_id! {
    /// A module's number in its federation. 0xFFFF is reserved.
    ModuleInstanceId(u16)
}

number_id! {
    /// A session's number, counted from 0.
    SessionIndex(u64)
}

impl PeerId {
    /// The number as a position in lists that hold one entry per guardian.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ModuleInstanceId {
    /// The reserved id, which no module has.
    pub const RESERVED: Self = Self(u16::MAX);
}

impl SessionIndex {
    /// The session after this one. `None` after the last that can be numbered.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

/// What a module does, for instance `mint`.
///
/// Encoding and JSON: a string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModuleKind(Cow<'static, str>);

impl ModuleKind {
    /// A kind known when compiling.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ModuleKind {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl fmt::Display for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleKind({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn number_ids_are_json_numbers_and_decimal_map_keys() {
        let map = BTreeMap::from([(PeerId(3), ModuleInstanceId(7))]);
        let json = serde_json::to_string(&map).expect("serializes");
        assert_eq!(json, r#"{"3":7}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<_, _>>(&json).expect("parses"), map);
        assert!(serde_json::from_str::<PeerId>("65536").is_err());
    }
}
