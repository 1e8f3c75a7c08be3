//! The module's part in the key ceremony: one threshold key per denomination.

use std::collections::BTreeMap;

use moneta_core::amount::AmountUnit;
use moneta_core::version::ModuleConsensusVersion;
use moneta_core::{Decode, Encode, ModuleKind, PeerId};
use moneta_crypto::tbs::{AggregatePublicKey, combine_public_keys, public_key_share};
use moneta_module::erased::{AnyServer, erase_server};
use moneta_module::setup::{
    Contribution, Genesis, GenesisError, OpenError, Seat, ServerKind, SetupParams, TbsKeys,
};
use rand::RngCore;
use serde_json::{Value, json};

use crate::server::MintServer;
use crate::words::{CONSENSUS_VERSION, Denomination, Fees, KIND, MintConfig, MintPrivate};

/// Makes and opens `mintv2` modules.
#[derive(Debug, Clone, Copy, Default)]
pub struct MintKind;

impl ServerKind for MintKind {
    fn kind(&self) -> ModuleKind {
        KIND
    }

    fn consensus_version(&self) -> ModuleConsensusVersion {
        CONSENSUS_VERSION
    }

    fn contribute(&self, _: &SetupParams, _: &mut dyn RngCore) -> Contribution {
        Contribution { tbs_keys: Denomination::COUNT, ..Contribution::default() }
    }

    fn genesis(
        &self,
        params: &SetupParams,
        _: &Contribution,
        publics: &BTreeMap<PeerId, Vec<u8>>,
        tbs_keys: Vec<TbsKeys>,
    ) -> Result<Genesis, GenesisError> {
        if let Some((peer, _)) = publics.iter().find(|(_, public)| !public.is_empty()) {
            return Err(GenesisError::BadContribution { peer: *peer });
        }
        if tbs_keys.len() != Denomination::COUNT {
            let (got, wanted) = (tbs_keys.len(), Denomination::COUNT);
            return Err(GenesisError::WrongKeyCount { got, wanted });
        }
        let mut config = MintConfig {
            tbs_agg_pks: BTreeMap::new(),
            tbs_pks: BTreeMap::new(),
            fee_consensus: if params.disable_base_fees { Fees::NONE } else { Fees::DEFAULT },
            amount_unit: AmountUnit::BITCOIN,
        };
        let mut private = MintPrivate { tbs_sks: BTreeMap::new() };
        for (denomination, keys) in Denomination::all().zip(tbs_keys) {
            config.tbs_agg_pks.insert(denomination, keys.aggregate);
            config.tbs_pks.insert(denomination, keys.public_shares);
            private.tbs_sks.insert(denomination, keys.secret_share);
        }
        Ok(Genesis { config: config.to_bytes(), private: private.to_bytes() })
    }

    fn open(
        &self,
        seat: Seat,
        config: &[u8],
        private: &[u8],
    ) -> Result<Box<dyn AnyServer>, OpenError> {
        let config = MintConfig::from_bytes(config)?;
        let private = MintPrivate::from_bytes(private)?;
        check(seat, &config, &private)?;
        Ok(erase_server(MintServer::new(config, private)))
    }

    fn client_config(&self, config: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(MintConfig::from_bytes(config)?.to_bytes())
    }

    fn client_config_json(&self, config: &[u8]) -> Result<Value, OpenError> {
        Ok(json!(MintConfig::from_bytes(config)?))
    }
}

/// Whether a guardian with these parts would sign what the others can use.
fn check(seat: Seat, config: &MintConfig, private: &MintPrivate) -> Result<(), OpenError> {
    let secrets = private.tbs_sks.keys();
    if !(config.tbs_agg_pks.keys().eq(config.tbs_pks.keys()) && config.tbs_pks.keys().eq(secrets)) {
        return Err(OpenError::Mismatch("the denominations differ"));
    }
    for (denomination, shares) in &config.tbs_pks {
        if denomination.value().is_none() {
            return Err(OpenError::Mismatch("a denomination is out of range"));
        }
        if !shares.keys().copied().eq(seat.size.peer_ids()) {
            return Err(OpenError::Mismatch(
                "the public key shares are not those of all guardians",
            ));
        }
        let own = private.tbs_sks.get(denomination).map(public_key_share);
        if own.as_ref() != shares.get(&seat.me) {
            return Err(OpenError::Mismatch("a secret key share is not of its public key share"));
        }
        let some = shares.iter().take(seat.size.threshold());
        let combined =
            combine_public_keys(&some.map(|(peer, key)| (u64::from(peer.0), *key)).collect());
        if config.tbs_agg_pks.get(denomination).is_none_or(AggregatePublicKey::is_infinity) {
            return Err(OpenError::Mismatch("a key is infinity, anybody could sign for it"));
        }
        if combined.ok().as_ref() != config.tbs_agg_pks.get(denomination) {
            return Err(OpenError::Mismatch("the public key shares do not combine to the key"));
        }
    }
    Ok(())
}
