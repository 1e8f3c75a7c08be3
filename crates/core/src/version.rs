//! Versions of consensus and of the API.
//!
//! Source: docs/protocol/core.md, sections 2.1 and 8.3.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{DecodeError, Reader};
use crate::{Decode, Encode, ModuleInstanceId};

/// The core consensus version of federations we create, and of our version report.
pub const CORE_CONSENSUS_2_1: CoreConsensusVersion = CoreConsensusVersion::new(2, 1);

/// The core API version that a guardian advertises.
pub const CORE_API: ApiVersion = ApiVersion::new(0, 9);

macro_rules! version {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Ordered by major, then minor number. JSON: `{"major":2,"minor":1}`.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize,
            Deserialize,
        )]
        pub struct $name {
            /// Differs between versions that do not understand each other.
            pub major: u32,
            /// Grows with additions.
            pub minor: u32,
        }

        impl $name {
            /// Version `major.minor`.
            #[must_use]
            pub const fn new(major: u32, minor: u32) -> Self {
                Self { major, minor }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.major, self.minor)
            }
        }
    };
}

version! {
    /// The rules of consensus outside the modules.
    CoreConsensusVersion
}

version! {
    /// The rules of consensus of one kind of module.
    ModuleConsensusVersion
}

version! {
    /// A set of API endpoints, of the core or of a module.
    ApiVersion
}

impl CoreConsensusVersion {
    /// Whether a transaction may pay more than it must (from 2.1 on).
    #[must_use]
    pub fn allows_overpayment(self) -> bool {
        self >= CORE_CONSENSUS_2_1
    }
}

/// API versions side by side: per major number the highest minor number supported.
///
/// Ascending, each major number once. Encoding: a vector. JSON: an array of versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Encode, Serialize, Deserialize)]
#[serde(try_from = "Vec<ApiVersion>")]
pub struct MultiApiVersion(Vec<ApiVersion>);

/// Versions that repeat a major number or do not ascend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API versions are not ascending with each major number once")]
pub struct VersionOrderError;

impl MultiApiVersion {
    /// One version.
    #[must_use]
    pub fn single(version: ApiVersion) -> Self {
        Self(vec![version])
    }

    /// The supported version with this major number.
    #[must_use]
    pub fn get(&self, major: u32) -> Option<ApiVersion> {
        self.0.iter().copied().find(|version| version.major == major)
    }

    /// The versions in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = ApiVersion> + '_ {
        self.0.iter().copied()
    }
}

impl TryFrom<Vec<ApiVersion>> for MultiApiVersion {
    type Error = VersionOrderError;

    fn try_from(versions: Vec<ApiVersion>) -> Result<Self, Self::Error> {
        if versions.windows(2).all(|pair| pair[0].major < pair[1].major) {
            Ok(Self(versions))
        } else {
            Err(VersionOrderError)
        }
    }
}

impl Decode for MultiApiVersion {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::decode(input)?.try_into().map_err(|_| DecodeError::Invalid("list of API versions"))
    }
}

/// What a guardian reports of its versions: the answer of the `version` endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct VersionSummary {
    /// The versions outside the modules.
    pub core: CoreVersionSummary,
    /// The versions of each module instance.
    pub modules: BTreeMap<ModuleInstanceId, ModuleVersionSummary>,
}

/// The versions of a guardian outside its modules.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct CoreVersionSummary {
    /// The consensus version. The minor number means "supported up to".
    pub core_consensus: CoreConsensusVersion,
    /// The API versions.
    pub api: MultiApiVersion,
}

/// The versions of one module instance.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct ModuleVersionSummary {
    /// The core consensus version it runs under.
    pub core_consensus: CoreConsensusVersion,
    /// Its version in the client config.
    pub module_consensus: ModuleConsensusVersion,
    /// Its API versions.
    pub api: MultiApiVersion,
}
