//! The module's part in the key ceremony: nothing to agree on.

use std::collections::BTreeMap;

use moneta_core::version::ModuleConsensusVersion;
use moneta_core::{Decode, Encode, ModuleKind, PeerId};
use moneta_module::erased::{AnyServer, erase_server};
use moneta_module::setup::{
    Contribution, Genesis, GenesisError, OpenError, Seat, ServerKind, SetupParams, TbsKeys,
};
use rand::RngCore;
use serde_json::{Value, json};

use crate::server::MetaServer;
use crate::words::{CONSENSUS_VERSION, KIND, MetaConfig};

/// Makes and opens `meta` modules.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetaKind;

impl ServerKind for MetaKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn consensus_version(&self) -> ModuleConsensusVersion {
        CONSENSUS_VERSION
    }

    fn contribute(&self, _: &SetupParams, _: &mut dyn RngCore) -> Contribution {
        Contribution::default()
    }

    fn genesis(
        &self,
        _: &SetupParams,
        _: &Contribution,
        publics: &BTreeMap<PeerId, Vec<u8>>,
        _: Vec<TbsKeys>,
    ) -> Result<Genesis, GenesisError> {
        if let Some((peer, _)) = publics.iter().find(|(_, public)| !public.is_empty()) {
            return Err(GenesisError::BadContribution { peer: *peer });
        }
        Ok(Genesis { config: MetaConfig {}.to_bytes(), private: Vec::new() })
    }

    fn open(&self, seat: Seat, config: &[u8], _: &[u8]) -> Result<Box<dyn AnyServer>, OpenError> {
        MetaConfig::from_bytes(config)?;
        Ok(erase_server(MetaServer::new(seat)))
    }

    fn client_config(&self, config: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(MetaConfig::from_bytes(config)?.to_bytes())
    }

    fn client_config_json(&self, config: &[u8]) -> Result<Value, OpenError> {
        Ok(json!(MetaConfig::from_bytes(config)?))
    }
}
