//! The end of key generation: the configuration of one guardian.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use moneta_core::config::PeerUrl;
use moneta_core::setup_code::PeerEndpoints;
use moneta_core::version::CORE_CONSENSUS_2_1;
use moneta_core::{ModuleInstanceId, ModuleKind, PeerId};
use moneta_crypto::dkg::{self, ThresholdKey};
use moneta_module::setup::{GenesisError, TbsKeys};

use super::stage::malformed;
use super::{Keygen, KeygenError, Stage, number};
use crate::setup::ceremony::Agreement;
use crate::setup::config::{
    ConsensusConfig, GuardianConfig, LinkEndpoint, LocalConfig, ModuleConfig, PrivateConfig,
    PrivateModule,
};
use crate::setup::message::Contribution;

impl Keygen<'_> {
    pub(super) fn finish(&self) -> Result<GuardianConfig, KeygenError> {
        let mut keys = match self.shape {
            Some(shape) => {
                let dealt = self.settled_shares()?;
                dkg::finish(shape, number(self.agreement.me), &dealt)
                    .map_err(|error| KeygenError::Keys(error.to_string()))?
            }
            None => Vec::new(),
        }
        .into_iter();
        let contributions: BTreeMap<PeerId, Contribution> =
            self.all::<Contribution>(Stage::Contribution)?.into_iter().collect();
        let mut modules = BTreeMap::new();
        let mut private = BTreeMap::new();
        for (index, (kind, part)) in self.kinds.iter().zip(&self.parts).enumerate() {
            let instance = ModuleInstanceId::new(index as u16);
            let of_module = keys.by_ref().take(part.tbs_keys).map(tbs_keys).collect();
            let publics = contributions
                .iter()
                .map(|(peer, part)| (*peer, part.modules.get(index).cloned().unwrap_or_default()))
                .collect();
            let genesis = kind
                .genesis(&self.params, part, &publics, of_module)
                .map_err(|error| self.module_failed(kind.kind(), error))?;
            let (config, version) = (genesis.config, kind.consensus_version());
            modules.insert(instance, ModuleConfig { kind: kind.kind(), version, config });
            let secret = genesis.private;
            private.insert(instance, PrivateModule { kind: kind.kind(), secret });
        }
        let broadcast_public_keys: BTreeMap<PeerId, PublicKey> =
            contributions.iter().map(|(peer, part)| (*peer, part.broadcast_key)).collect();
        let (api_endpoints, links) = self.agreement.endpoints()?;
        let name = self.agreement.federation_name.clone();
        Ok(GuardianConfig {
            consensus: ConsensusConfig {
                version: CORE_CONSENSUS_2_1,
                broadcast_public_keys,
                api_endpoints,
                links,
                modules,
                meta: BTreeMap::from([("federation_name".to_owned(), name)]),
                network: self.agreement.network,
            },
            private: PrivateConfig {
                broadcast_secret_key: self.broadcast.secret_key(),
                tls_key: self.tls_key.to_vec(),
                modules: private,
            },
            local: LocalConfig { identity: self.agreement.me },
        })
    }

    fn module_failed(&self, kind: ModuleKind, error: GenesisError) -> KeygenError {
        match error {
            GenesisError::BadContribution { peer } => {
                malformed(peer, Stage::Contribution, format!("its part of module {kind}"))
            }
            other => KeygenError::Module { kind, reason: other.to_string() },
        }
    }
}

/// Addresses by guardian: of the client API, and of the links.
type Endpoints = (BTreeMap<PeerId, PeerUrl>, BTreeMap<PeerId, LinkEndpoint>);

impl Agreement {
    /// Where all guardians are, from their setup codes.
    ///
    /// Errors: `Malformed` if a code is for iroh, which is not supported.
    pub fn endpoints(&self) -> Result<Endpoints, KeygenError> {
        let mut api = BTreeMap::new();
        let mut links = BTreeMap::new();
        for (peer, code) in &self.codes {
            let PeerEndpoints::Tcp { api_url, p2p_url, cert } = &code.endpoints else {
                return Err(malformed(*peer, Stage::Hello, "its setup code is for iroh"));
            };
            api.insert(*peer, PeerUrl { url: api_url.clone(), name: code.name.clone() });
            links.insert(*peer, LinkEndpoint { url: p2p_url.clone(), cert: cert.clone() });
        }
        Ok((api, links))
    }
}

fn tbs_keys(key: ThresholdKey) -> TbsKeys {
    let peer = |number: u64| PeerId::new(number as u16);
    TbsKeys {
        secret_share: key.secret_share,
        public_shares: key.public_shares.into_iter().map(|(n, share)| (peer(n), share)).collect(),
        aggregate: key.aggregate,
    }
}
