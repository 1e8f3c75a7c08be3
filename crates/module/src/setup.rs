//! What a module adds to the key ceremony, and how it opens from the resulting configuration.

use std::collections::BTreeMap;

use moneta_core::DecodeError;
use moneta_core::id::{ModuleKind, PeerId};
use moneta_core::peers::FederationSize;
use moneta_core::version::ModuleConsensusVersion;
use moneta_crypto::tbs::{AggregatePublicKey, PublicKeyShare, SecretKeyShare};
use rand::RngCore;
use serde_json::Value;

use crate::erased::AnyServer;

/// One kind of module as a guardian's binary knows it: the factory of server halves.
pub trait ServerKind: Send + Sync {
    /// The kind string that stands in configs.
    fn kind(&self) -> ModuleKind;

    /// The version written into the configs of new federations.
    fn consensus_version(&self) -> ModuleConsensusVersion;

    /// First step of the ceremony: what this guardian draws and shows.
    fn contribute(&self, params: &SetupParams, rng: &mut dyn RngCore) -> Contribution;

    /// Last step: makes the configuration from everybody's public parts (this guardian's own
    /// included) and the distributed keys, in the number that [`Contribution::tbs_keys`] asked
    /// for.
    ///
    /// Errors: `BadContribution` names the guardian whose part is malformed.
    fn genesis(
        &self,
        params: &SetupParams,
        own: &Contribution,
        publics: &BTreeMap<PeerId, Vec<u8>>,
        tbs_keys: Vec<TbsKeys>,
    ) -> Result<Genesis, GenesisError>;

    /// Opens the server half. Checks that the private part fits the public one.
    ///
    /// Errors: as [`OpenError`] tells; a guardian does not start on any of them.
    fn open(
        &self,
        seat: Seat,
        config: &[u8],
        private: &[u8],
    ) -> Result<Box<dyn AnyServer>, OpenError>;

    /// The client config bytes that follow from the guardians' config bytes.
    fn client_config(&self, config: &[u8]) -> Result<Vec<u8>, OpenError>;

    /// The same as a JSON object without `kind`, for tools that cannot decode it (core.md 5.3).
    fn client_config_json(&self, config: &[u8]) -> Result<Value, OpenError>;
}

/// What the ceremony has agreed on.
#[derive(Debug, Clone)]
pub struct SetupParams {
    /// How many guardians.
    pub size: FederationSize,
    /// This guardian.
    pub me: PeerId,
    /// The bitcoin network.
    pub network: bitcoin::Network,
    /// Whether modules charge no base fee.
    pub disable_base_fees: bool,
}

/// Which guardian of how many a server half serves.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// This guardian.
    pub me: PeerId,
    /// How many guardians.
    pub size: FederationSize,
}

/// What one guardian brings to one module's setup. Saved before the public part leaves, so that a
/// ceremony resumed after a crash shows the same.
#[derive(Clone, Default)]
pub struct Contribution {
    /// Shown to all guardians.
    pub public: Vec<u8>,
    /// Stays here.
    pub secret: Vec<u8>,
    /// How many independent threshold keys for blind signatures the module needs. The same on all
    /// guardians.
    pub tbs_keys: usize,
}

/// One distributed threshold key for blind signatures, as one guardian holds it.
#[derive(Clone)]
pub struct TbsKeys {
    /// This guardian's share.
    pub secret_share: SecretKeyShare,
    /// Everybody's public share.
    pub public_shares: BTreeMap<PeerId, PublicKeyShare>,
    /// The key that notes are verified against.
    pub aggregate: AggregatePublicKey,
}

/// The finished configuration of one module.
pub struct Genesis {
    /// Equal on all guardians.
    pub config: Vec<u8>,
    /// This guardian's secrets.
    pub private: Vec<u8>,
}

/// Why a ceremony cannot produce a module's configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Refused: a guardian showed something malformed.
    #[error("guardian {peer} contributed a malformed value for this module")]
    BadContribution {
        /// Who.
        peer: PeerId,
    },
    /// Refused: the federation cannot have this module.
    #[error("this module cannot be set up here: {0}")]
    Unsupported(&'static str),
    /// Broken: the host did not keep its part of the contract.
    #[error("the ceremony delivered {got} keys, the module asked for {wanted}")]
    WrongKeyCount {
        /// Delivered.
        got: usize,
        /// Asked for.
        wanted: usize,
    },
}

/// Why a server half does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Broken: the configuration does not decode.
    #[error("the module's configuration does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// Broken: private and public parts belong to different guardians or federations.
    #[error("the module's secrets do not fit its public configuration: {0}")]
    Mismatch(&'static str),
}
