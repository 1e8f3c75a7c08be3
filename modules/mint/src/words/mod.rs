//! The module's values on the wire.
//!
//! Source: docs/protocol/mint.md, sections 3.1 to 3.6 and 5.2.

mod config;
mod denomination;
mod ecash;
mod items;
mod note;
mod recovery;

pub use config::{Fees, FeesError, MintConfig, MintPrivate};
pub use denomination::Denomination;
pub use ecash::{ECash, EcashPart, EcashTextError};
pub use items::{
    InputV0, MintInput, MintInputError, MintItem, MintOutcome, MintOutput, MintOutputError,
    OutputV0,
};
pub use note::{Nonce, Note, SpendableNote, Tweak};
pub use recovery::{
    MAX_SLICE_ITEMS, RecoveryItem, SliceRange, encoded_slice_hash, hash160, slice_hash,
};

use moneta_core::ModuleKind;
use moneta_core::version::{ApiVersion, ModuleConsensusVersion};

/// The kind string.
pub const KIND: ModuleKind = ModuleKind::from_static("mintv2");
/// Version in the configs of federations.
pub const CONSENSUS_VERSION: ModuleConsensusVersion = ModuleConsensusVersion::new(1, 0);
/// Version of the endpoints that a guardian serves.
pub const API_VERSION: ApiVersion = ApiVersion::new(0, 2);
/// Least version of the endpoints that a wallet needs.
pub const REQUIRED_API_VERSION: ApiVersion = ApiVersion::new(0, 1);
