//! What a ceremony leaves behind: the configuration of one guardian.
//!
//! Three parts, one file each, so that a person can see what may be shown: `consensus.json` is
//! the same on all guardians and holds no secret, `private.json` is all secrets, `local.json` says
//! who this guardian is. Together they are the guardian: a backup is these three files.
//!
//! Source: docs/protocol/guardian.md, sections 3.4 and 7 (contents are our own).

use std::collections::BTreeMap;
use std::fmt;

use bitcoin::hashes::sha256;
use bitcoin::secp256k1::{Keypair, PublicKey, Secp256k1, SecretKey};
use moneta_core::config::{ClientConfig, GlobalConfig, ModuleEntry, PeerUrl};
use moneta_core::{
    ApiUrl, ClientConfigEnvelope, CoreConsensusVersion, Encode, FederationSize,
    ModuleConsensusVersion, ModuleInstanceId, ModuleKind, PeerId, hex_bytes,
};
use moneta_module::erased::AnyServer;
use moneta_module::setup::{OpenError, Seat, ServerKind};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The part that is equal on all guardians.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Serialize, Deserialize)]
pub struct ConsensusConfig {
    /// Core consensus version the federation runs.
    pub version: CoreConsensusVersion,
    /// Keys that sign sessions, announcements and consensus messages.
    pub broadcast_public_keys: BTreeMap<PeerId, PublicKey>,
    /// Where clients reach the guardians; decides the federation id.
    pub api_endpoints: BTreeMap<PeerId, PeerUrl>,
    /// Where guardians reach each other, and their certificates.
    pub links: BTreeMap<PeerId, LinkEndpoint>,
    /// The modules.
    pub modules: BTreeMap<ModuleInstanceId, ModuleConfig>,
    /// Fixed metadata: the federation's name.
    pub meta: BTreeMap<String, String>,
    /// The bitcoin network.
    pub network: bitcoin::Network,
}

/// How to reach a guardian's link port.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Serialize, Deserialize)]
pub struct LinkEndpoint {
    /// `fedimint://host:port`.
    pub url: ApiUrl,
    /// DER.
    #[serde(with = "hex_bytes")]
    pub cert: Vec<u8>,
}

/// One module's agreed configuration.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Serialize, Deserialize)]
pub struct ModuleConfig {
    /// Kind.
    pub kind: ModuleKind,
    /// Version.
    pub version: ModuleConsensusVersion,
    /// The module's own encoding.
    #[serde(with = "hex_bytes")]
    pub config: Vec<u8>,
}

/// The part that never leaves the guardian.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateConfig {
    /// Signs sessions, announcements and consensus messages.
    pub broadcast_secret_key: SecretKey,
    /// DER, PKCS#8, of the link certificate.
    #[serde(with = "hex_bytes")]
    pub tls_key: Vec<u8>,
    /// The modules' secrets.
    pub modules: BTreeMap<ModuleInstanceId, PrivateModule>,
}

/// One module's secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateModule {
    /// Kind.
    pub kind: ModuleKind,
    /// The module's own encoding.
    #[serde(with = "hex_bytes")]
    pub secret: Vec<u8>,
}

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        self.broadcast_secret_key.non_secure_erase();
        self.tls_key.zeroize();
    }
}

impl Drop for PrivateModule {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for PrivateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateConfig(..)")
    }
}

/// Who this guardian is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalConfig {
    /// Its id.
    pub identity: PeerId,
}

/// All three parts.
#[derive(Debug, Clone)]
pub struct GuardianConfig {
    /// Equal on all guardians.
    pub consensus: ConsensusConfig,
    /// Secrets.
    pub private: PrivateConfig,
    /// Who this is.
    pub local: LocalConfig,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Refused: guardian ids have gaps, or maps disagree on them.
    #[error("the guardians' ids are not 0 to n-1 everywhere in the configuration")]
    PeerIds,
    /// Refused: these secrets belong to another guardian or federation.
    #[error("the secrets are not those of guardian {identity} of this federation: {what}")]
    ForeignSecrets {
        /// Who the files say this is.
        identity: PeerId,
        /// Which secret.
        what: &'static str,
    },
    /// Refused: the daemon does not implement a module.
    #[error("module kind {0} is not implemented by this release")]
    UnknownKind(ModuleKind),
    /// Refused: a module does not open.
    #[error("module {instance} does not open: {source}")]
    Module {
        /// Which instance.
        instance: ModuleInstanceId,
        /// Why.
        source: OpenError,
    },
}

impl ConsensusConfig {
    /// How many guardians.
    ///
    /// Errors: `PeerIds` unless all maps have ids 0 to n-1.
    pub fn size(&self) -> Result<FederationSize, ConfigError> {
        let count = self.api_endpoints.len();
        let size = FederationSize::new(count).ok_or(ConfigError::PeerIds)?;
        let contiguous = |ids: &mut dyn Iterator<Item = &PeerId>| size.peer_ids().eq(ids.copied());
        let all = contiguous(&mut self.api_endpoints.keys())
            && contiguous(&mut self.broadcast_public_keys.keys())
            && contiguous(&mut self.links.keys());
        if all { Ok(size) } else { Err(ConfigError::PeerIds) }
    }

    /// What `server_config_consensus_hash` answers: equal on all guardians, otherwise opaque.
    pub fn hash(&self) -> sha256::Hash {
        self.consensus_hash()
    }

    /// The config clients download.
    ///
    /// Errors: `UnknownKind`, `Module`.
    pub fn to_client_config(
        &self,
        kinds: &[Box<dyn ServerKind>],
    ) -> Result<ClientConfig, ConfigError> {
        let mut modules = BTreeMap::new();
        for (instance, module) in &self.modules {
            let kind = find_kind(kinds, &module.kind)?;
            let bytes = kind
                .client_config(&module.config)
                .map_err(|source| ConfigError::Module { instance: *instance, source })?;
            let config = ClientConfigEnvelope::from_raw(*instance, bytes);
            let entry = ModuleEntry { kind: module.kind.clone(), version: module.version, config };
            modules.insert(*instance, entry);
        }
        Ok(ClientConfig {
            global: GlobalConfig {
                api_endpoints: self.api_endpoints.clone(),
                broadcast_public_keys: Some(self.broadcast_public_keys.clone()),
                consensus_version: self.version,
                meta: self.meta.clone(),
            },
            modules,
        })
    }
}

impl GuardianConfig {
    /// Checks that the three parts belong together.
    ///
    /// Errors: `PeerIds`, `ForeignSecrets`.
    pub fn check(&self) -> Result<FederationSize, ConfigError> {
        let size = self.consensus.size()?;
        let identity = self.local.identity;
        let public = self.consensus.broadcast_public_keys.get(&identity);
        if public != Some(&self.broadcast_keypair().public_key()) {
            return Err(ConfigError::ForeignSecrets { identity, what: "the broadcast key" });
        }
        Ok(size)
    }

    /// The key that signs for this guardian.
    pub fn broadcast_keypair(&self) -> Keypair {
        Keypair::from_secret_key(&Secp256k1::new(), &self.private.broadcast_secret_key)
    }

    /// Opens all modules.
    ///
    /// Errors: every variant of [`ConfigError`]; a guardian does not start on any of them.
    pub fn open_modules(
        &self,
        kinds: &[Box<dyn ServerKind>],
    ) -> Result<BTreeMap<ModuleInstanceId, Box<dyn AnyServer>>, ConfigError> {
        let seat = Seat { me: self.local.identity, size: self.check()? };
        let mut modules = BTreeMap::new();
        for (instance, module) in &self.consensus.modules {
            let private =
                self.private.modules.get(instance).ok_or(ConfigError::ForeignSecrets {
                    identity: seat.me,
                    what: "a module has no secrets",
                })?;
            let opened = find_kind(kinds, &module.kind)?
                .open(seat, &module.config, &private.secret)
                .map_err(|source| ConfigError::Module { instance: *instance, source })?;
            modules.insert(*instance, opened);
        }
        Ok(modules)
    }
}

fn find_kind<'a>(
    kinds: &'a [Box<dyn ServerKind>],
    wanted: &ModuleKind,
) -> Result<&'a dyn ServerKind, ConfigError> {
    let found = kinds.iter().find(|kind| kind.kind() == *wanted);
    found.map(AsRef::as_ref).ok_or_else(|| ConfigError::UnknownKind(wanted.clone()))
}
