//! The module's part in the key ceremony: one key of each guardian.
//!
//! Source: docs/protocol/wallet.md, section 1.2.1.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::secp256k1::{PublicKey, SecretKey};
use moneta_core::version::ModuleConsensusVersion;
use moneta_core::{Decode, Encode, ModuleKind, Msat, PeerId};
use moneta_module::erased::{AnyServer, erase_server};
use moneta_module::setup::{
    Contribution, Genesis, GenesisError, OpenError, Seat, ServerKind, SetupParams, TbsKeys,
};
use rand::RngCore;
use serde_json::{Value, json};

use crate::descriptor::SECP;
use crate::server::WalletServer;
use crate::words::{CONSENSUS_VERSION, KIND, MAX_GUARDIANS, WalletConfig};

/// Whether no two guardians have the same key.
///
/// Keys are shown in the clear, so a guardian could show another's as its own. It could then repeat
/// the other's signatures, too: they would count as two and be one in the script, and the
/// federation's only coin would hang on a transaction that no miner takes.
pub(crate) fn all_differ(keys: &BTreeMap<PeerId, PublicKey>) -> bool {
    keys.values().collect::<BTreeSet<_>>().len() == keys.len()
}

/// Makes and opens `walletv2` modules.
#[derive(Debug, Clone, Copy)]
pub struct WalletKind {
    /// How far a guardian's vote for the block count may go beyond consensus. Bounds how many
    /// blocks are scanned for one ordered item.
    pub block_vote_step: u64,
}

impl WalletKind {
    /// In production: so few that one step is scanned in seconds.
    pub const BLOCK_VOTE_STEP: u64 = 5;
    /// In test worlds, which make a hundred blocks at once.
    pub const BLOCK_VOTE_STEP_OF_TESTS: u64 = 100;
}

impl Default for WalletKind {
    fn default() -> Self {
        Self { block_vote_step: Self::BLOCK_VOTE_STEP }
    }
}

impl ServerKind for WalletKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn consensus_version(&self) -> ModuleConsensusVersion {
        CONSENSUS_VERSION
    }

    fn contribute(&self, _: &SetupParams, rng: &mut dyn RngCore) -> Contribution {
        let secret = SecretKey::new(rng);
        let public = secret.public_key(&SECP).to_bytes();
        Contribution { public, secret: secret.to_bytes(), tbs_keys: 0 }
    }

    fn genesis(
        &self,
        params: &SetupParams,
        own: &Contribution,
        publics: &BTreeMap<PeerId, Vec<u8>>,
        tbs_keys: Vec<TbsKeys>,
    ) -> Result<Genesis, GenesisError> {
        if !tbs_keys.is_empty() {
            return Err(GenesisError::WrongKeyCount { got: tbs_keys.len(), wanted: 0 });
        }
        if params.size.total() > MAX_GUARDIANS {
            return Err(GenesisError::Unsupported("a multisig script holds at most 20 keys"));
        }
        let mut bitcoin_pks = BTreeMap::new();
        for peer in params.size.peer_ids() {
            let key = publics.get(&peer).and_then(|bytes| PublicKey::from_bytes(bytes).ok());
            let key = key.ok_or(GenesisError::BadContribution { peer })?;
            bitcoin_pks.insert(peer, key);
        }
        if !all_differ(&bitcoin_pks) {
            return Err(GenesisError::Unsupported("two guardians show the same bitcoin key"));
        }
        if publics.get(&params.me) != Some(&own.public) {
            return Err(GenesisError::BadContribution { peer: params.me });
        }
        let base_fee = if params.disable_base_fees { Msat::ZERO } else { WalletConfig::BASE_FEE };
        let config = WalletConfig::genesis(bitcoin_pks, params.network, base_fee)
            .ok_or(GenesisError::Unsupported("no multisig script for this many guardians"))?;
        Ok(Genesis { config: config.to_bytes(), private: own.secret.clone() })
    }

    fn open(
        &self,
        seat: Seat,
        config: &[u8],
        private: &[u8],
    ) -> Result<Box<dyn AnyServer>, OpenError> {
        let config = WalletConfig::from_bytes(config)?;
        let secret = SecretKey::from_bytes(private)?;
        let server = WalletServer::new(seat, config, secret, self.block_vote_step)?;
        Ok(erase_server(server))
    }

    fn client_config(&self, config: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(WalletConfig::from_bytes(config)?.to_bytes())
    }

    fn client_config_json(&self, config: &[u8]) -> Result<Value, OpenError> {
        Ok(json!(WalletConfig::from_bytes(config)?))
    }
}
