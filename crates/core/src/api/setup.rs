//! The setup phase of a guardian that has no config yet.
//!
//! Source: docs/protocol/core.md, section 8.5; docs/protocol/guardian.md, section 3.2.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ModuleKind;

/// Answer of `setup_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SetupStatus {
    /// `set_local_params` was not called.
    AwaitingLocalParams,
    /// Waiting for the other guardians' setup codes, or for the start.
    SharingConnectionCodes,
    /// In operation.
    ConsensusIsRunning,
}

/// Parameter of `set_local_params`. All but the name may be null or absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalParams {
    /// The guardian's name.
    pub name: String,
    /// Given by the leader alone.
    pub federation_name: Option<String>,
    /// Given by at most one guardian.
    pub disable_base_fees: Option<bool>,
    /// Given by at most one guardian.
    pub enabled_modules: Option<BTreeSet<ModuleKind>>,
    /// Number of guardians. Given by the leader alone.
    pub federation_size: Option<u32>,
}

/// Why local parameters are refused. The texts are what operators see, with code 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalParamsError {
    /// No name.
    #[error("The guardian name is empty")]
    EmptyName,
    /// An empty federation name.
    #[error("The federation name is empty")]
    EmptyFederationName,
    /// A federation name without a size.
    #[error("The leader must set the federation size")]
    SizeMissing,
    /// Two or three guardians, or none.
    #[error("Federation size must be 1 or at least 4")]
    SizeNotAllowed,
}

impl LocalParams {
    /// Checks the rules that need no other knowledge.
    pub fn check(&self) -> Result<(), LocalParamsError> {
        if self.name.is_empty() {
            return Err(LocalParamsError::EmptyName);
        }
        if let Some(name) = &self.federation_name {
            if name.is_empty() {
                return Err(LocalParamsError::EmptyFederationName);
            }
            if self.federation_size.is_none() {
                return Err(LocalParamsError::SizeMissing);
            }
        }
        match self.federation_size {
            Some(0 | 2 | 3) => Err(LocalParamsError::SizeNotAllowed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(name: &str, federation_name: &str, federation_size: Option<u32>) -> LocalParams {
        LocalParams {
            name: name.to_owned(),
            federation_name: Some(federation_name.to_owned()),
            disable_base_fees: None,
            enabled_modules: None,
            federation_size,
        }
    }

    #[test]
    fn params_are_refused_in_the_order_of_the_page() {
        assert_eq!(leader("", "", None).check(), Err(LocalParamsError::EmptyName));
        assert_eq!(leader("a", "", None).check(), Err(LocalParamsError::EmptyFederationName));
        assert_eq!(leader("a", "f", None).check(), Err(LocalParamsError::SizeMissing));
        for size in [0, 2, 3] {
            assert_eq!(leader("a", "f", Some(size)).check(), Err(LocalParamsError::SizeNotAllowed));
        }
        for size in [1, 4, 7] {
            assert_eq!(leader("a", "f", Some(size)).check(), Ok(()));
        }
    }
}
