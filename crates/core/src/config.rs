//! The client config: everything a client must know about a federation.
//!
//! The federation id is the hash of the endpoints in it, so a config is authenticated by the id in
//! an invite code. Its global part never changes for existing clients; modules may be added.
//!
//! Source: docs/protocol/core.md, sections 2.2 and 5.

use std::collections::BTreeMap;

use bitcoin::hashes::sha256;
use bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};

use crate::{
    ApiUrl, ClientConfigEnvelope, CoreConsensusVersion, Decode, Encode, FederationId,
    FederationSize, ModuleConsensusVersion, ModuleInstanceId, ModuleKind, PeerId, hex_encoded,
    to_hex,
};

/// Where a guardian's API is, and the guardian's name. Both are fixed at setup.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct PeerUrl {
    /// The API address.
    pub url: ApiUrl,
    /// The guardian's name.
    pub name: String,
}

/// The part of the config that is not about modules.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct GlobalConfig {
    /// Guardians by id, contiguous from 0.
    pub api_endpoints: BTreeMap<PeerId, PeerUrl>,
    /// The keys that sign sessions and announcements. Configs older than 0.4 may lack them.
    pub broadcast_public_keys: Option<BTreeMap<PeerId, PublicKey>>,
    /// The federation's core consensus version.
    pub consensus_version: CoreConsensusVersion,
    /// Texts fixed at setup, such as `federation_name`.
    pub meta: BTreeMap<String, String>,
}

/// Why the peers of a config make no federation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeersError {
    /// There is no guardian.
    #[error("the config names no guardian")]
    Empty,
    /// Guardian ids are not `0..n`.
    #[error("guardian ids are not contiguous from 0")]
    NotContiguous,
    /// The broadcast keys are of other guardians than the endpoints.
    #[error("broadcast keys and endpoints name different guardians")]
    KeysDiffer,
}

impl GlobalConfig {
    /// Returns the federation id: the hash of the endpoints (core.md 2.2).
    pub fn federation_id(&self) -> FederationId {
        self.api_endpoints.consensus_hash().into()
    }

    /// Returns the number of guardians and what follows from it.
    ///
    /// Errors: the ids are not `0..n` with n > 0, or the broadcast keys are of other peers.
    /// Neither is refused when decoding, so check before relying on the peers.
    pub fn check_peers(&self) -> Result<FederationSize, PeersError> {
        let size = FederationSize::new(self.api_endpoints.len()).ok_or(PeersError::Empty)?;
        if !self.api_endpoints.keys().copied().eq(size.peer_ids()) {
            return Err(PeersError::NotContiguous);
        }
        match &self.broadcast_public_keys {
            Some(keys) if !keys.keys().eq(self.api_endpoints.keys()) => Err(PeersError::KeysDiffer),
            _ => Ok(size),
        }
    }
}

/// One module of a federation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct ModuleEntry {
    /// Which client code it needs.
    pub kind: ModuleKind,
    /// The module's consensus version.
    pub version: ModuleConsensusVersion,
    /// The module's own config. In JSON plain hex of `instance || length || bytes`.
    #[serde(with = "hex_encoded")]
    pub config: ClientConfigEnvelope,
}

/// A whole client config.
///
/// Shape: binary as core.md 5.2, JSON as core.md 5.1 with the global fields at the top level.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(from = "FlatConfig", into = "FlatConfig")]
pub struct ClientConfig {
    /// Peers, keys, version and texts.
    pub global: GlobalConfig,
    /// The modules by instance.
    pub modules: BTreeMap<ModuleInstanceId, ModuleEntry>,
}

/// How a newer config differs from a stored one in a way that clients do not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigChange {
    /// The global part differs.
    #[error("the global part of the config changed")]
    Global,
    /// The entry of a known module differs or is missing.
    #[error("module {0} of the config changed")]
    Module(ModuleInstanceId),
}

impl ClientConfig {
    /// Returns the federation id, see [`GlobalConfig::federation_id`].
    pub fn federation_id(&self) -> FederationId {
        self.global.federation_id()
    }

    /// Returns the hash of the whole config in its binary form.
    pub fn config_hash(&self) -> sha256::Hash {
        self.consensus_hash()
    }

    /// Returns the number of guardians, see [`GlobalConfig::check_peers`].
    pub fn size(&self) -> Result<FederationSize, PeersError> {
        self.global.check_peers()
    }

    /// Returns a module's entry if it can be used: the instance inside its config must be the one
    /// it is listed under. A mismatch is no error of the config as a whole (core.md 5.1).
    pub fn usable_module(&self, instance: ModuleInstanceId) -> Option<&ModuleEntry> {
        self.modules.get(&instance).filter(|entry| entry.config.instance == instance)
    }

    /// Checks that a client holding `self` may go over to `newer`: the global part is identical
    /// and every module known so far is unchanged. Additional modules are fine (core.md 5.4).
    pub fn check_update(&self, newer: &Self) -> Result<(), ConfigChange> {
        if self.global != newer.global {
            return Err(ConfigChange::Global);
        }
        for (instance, entry) in &self.modules {
            if newer.modules.get(instance) != Some(entry) {
                return Err(ConfigChange::Module(*instance));
            }
        }
        Ok(())
    }

    /// Returns the form of `client_config_json` (core.md 5.3).
    ///
    /// `render` gives the fields of a module's config, or `None` for modules it does not know;
    /// those appear as hex.
    pub fn to_readable_json(
        &self,
        mut render: impl FnMut(
            ModuleInstanceId,
            &ModuleEntry,
        ) -> Option<serde_json::Map<String, serde_json::Value>>,
    ) -> serde_json::Value {
        let mut modules = serde_json::Map::new();
        for (instance, entry) in &self.modules {
            let mut fields = render(*instance, entry).unwrap_or_else(|| {
                let hex = serde_json::Value::String(to_hex(&entry.config));
                serde_json::Map::from_iter([("unknown_module_hex".to_owned(), hex)])
            });
            fields.insert("kind".to_owned(), entry.kind.to_string().into());
            modules.insert(instance.to_string(), fields.into());
        }
        serde_json::json!({ "global": &self.global, "modules": modules })
    }
}

/// The JSON form. Written out because serde's own flattening cannot read maps with number keys.
#[derive(Serialize, Deserialize)]
struct FlatConfig {
    api_endpoints: BTreeMap<PeerId, PeerUrl>,
    broadcast_public_keys: Option<BTreeMap<PeerId, PublicKey>>,
    consensus_version: CoreConsensusVersion,
    meta: BTreeMap<String, String>,
    modules: BTreeMap<ModuleInstanceId, ModuleEntry>,
}

impl From<FlatConfig> for ClientConfig {
    fn from(flat: FlatConfig) -> Self {
        let FlatConfig { api_endpoints, broadcast_public_keys, consensus_version, meta, modules } =
            flat;
        let global = GlobalConfig { api_endpoints, broadcast_public_keys, consensus_version, meta };
        Self { global, modules }
    }
}

impl From<ClientConfig> for FlatConfig {
    fn from(config: ClientConfig) -> Self {
        let GlobalConfig { api_endpoints, broadcast_public_keys, consensus_version, meta } =
            config.global;
        let modules = config.modules;
        Self { api_endpoints, broadcast_public_keys, consensus_version, meta, modules }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config() -> ClientConfig {
        serde_json::from_value(serde_json::json!({
            "api_endpoints": {"0": {"url": "wss://g0.example.com/", "name": "g0"}},
            "consensus_version": {"major": 2, "minor": 1},
            "meta": {},
            "modules": {
                "2": {"kind": "meta", "version": {"major": 0, "minor": 0}, "config": "0200"}
            }
        }))
        .unwrap()
    }

    #[test]
    fn additional_module_is_accepted_as_update() {
        let old = config();
        let mut newer = old.clone();
        newer
            .modules
            .insert(ModuleInstanceId::new(3), old.modules.values().next().unwrap().clone());
        assert_eq!(old.check_update(&newer), Ok(()));
        assert_eq!(
            newer.check_update(&old),
            Err(ConfigChange::Module(ModuleInstanceId::new(3))),
            "a module went missing"
        );
    }

    #[test]
    fn changed_module_or_global_part_is_no_update() {
        let old = config();
        let mut other_kind = old.clone();
        other_kind.modules.values_mut().next().unwrap().kind = ModuleKind::from_static("mint");
        let two = ModuleInstanceId::new(2);
        assert_eq!(old.check_update(&other_kind), Err(ConfigChange::Module(two)));
        let mut other_meta = old.clone();
        other_meta.global.meta.insert("federation_name".to_owned(), "x".to_owned());
        assert_eq!(old.check_update(&other_meta), Err(ConfigChange::Global));
    }

    #[test]
    fn gap_in_guardian_ids_is_found() {
        let mut config = config();
        assert_eq!(config.size().unwrap().total(), 1);
        let peer = config.global.api_endpoints.values().next().unwrap().clone();
        config.global.api_endpoints.insert(PeerId::new(2), peer);
        assert_eq!(config.size(), Err(PeersError::NotContiguous));
        config.global.api_endpoints.clear();
        assert_eq!(config.size(), Err(PeersError::Empty));
    }
}
