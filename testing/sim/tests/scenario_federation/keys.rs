//! The keys of the scenario, as its first case describes them.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash as _, sha256};
use moneta_core::{FederationSize, ModuleInstanceId, PeerId};
use moneta_crypto::tbs::{PublicKeyShare, SecretKeyShare, combine_public_keys, public_key_share};
use moneta_mint::words::Denomination;
use moneta_module::setup::{Contribution, Genesis, ServerKind, SetupParams, TbsKeys};
use serde_json::Value;

use crate::vectors::{Case, bytes, number};

/// What the ceremony of the module `kind` ends with for guardian `me`; the configuration is
/// compared with the one of the scenario.
pub(crate) fn genesis(
    case: &Case,
    size: FederationSize,
    me: PeerId,
    instance: ModuleInstanceId,
    kind: &dyn ServerKind,
) -> Genesis {
    let network = bitcoin::Network::Regtest;
    let params = SetupParams { size, me, network, disable_base_fees: false };
    let wallet_keys = case.input["bitcoin_secret_keys"].as_array().unwrap();
    let is_wallet = kind.kind() == moneta_wallet::words::KIND;
    let is_mint = kind.kind() == moneta_mint::words::KIND;
    let contribution = |peer: PeerId| match is_wallet {
        true => {
            let secret = bytes(&wallet_keys[peer.index()]);
            let key = bitcoin::secp256k1::SecretKey::from_slice(&secret).unwrap();
            let public =
                key.public_key(&bitcoin::secp256k1::Secp256k1::signing_only()).serialize().to_vec();
            Contribution { public, secret, tbs_keys: 0 }
        }
        false => Contribution::default(),
    };
    let publics = size.peer_ids().map(|peer| (peer, contribution(peer).public)).collect();
    let keys = match is_mint {
        true => vec![tbs_keys(case, size, me); Denomination::COUNT],
        false => Vec::new(),
    };
    let genesis = kind.genesis(&params, &contribution(me), &publics, keys).unwrap();
    let expected = &case.output["consensus_config_sha256"][instance.to_string()];
    let hash = sha256::Hash::hash(&genesis.config).to_string();
    assert_eq!(genesis.config.len(), number::<usize>(&expected["len"]), "config of {instance}");
    assert_eq!(hash, expected["sha256"].as_str().unwrap(), "config of {instance}");
    genesis
}

/// All denominations have the same keys here: the polynomial at guardian number plus one.
fn tbs_keys(case: &Case, size: FederationSize, me: PeerId) -> TbsKeys {
    let coefficients = case.input["mint_polynomial_for_every_denomination"].as_array().unwrap();
    let secret = |peer: PeerId| -> SecretKeyShare { evaluate(coefficients, u64::from(peer.0) + 1) };
    let public_shares: BTreeMap<PeerId, PublicKeyShare> =
        size.peer_ids().map(|peer| (peer, public_key_share(&secret(peer)))).collect();
    let some = public_shares.iter().take(size.threshold());
    let some = some.map(|(peer, share)| (u64::from(peer.0), *share)).collect();
    let aggregate = combine_public_keys(&some).unwrap();
    TbsKeys { secret_share: secret(me), public_shares, aggregate }
}

fn evaluate(coefficients: &[Value], x: u64) -> SecretKeyShare {
    let value = coefficients.iter().rev().fold(0_u64, |sum, c| sum * x + number::<u64>(c));
    let mut little_endian = [0; 32];
    little_endian[..8].copy_from_slice(&value.to_le_bytes());
    SecretKeyShare::from_bytes(&little_endian).unwrap()
}
