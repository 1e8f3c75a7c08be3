use std::collections::BTreeMap;

use moneta_core::{
    CORE_CONSENSUS_2_1, ClientConfig, FederationId, FederationIdPrefix, GlobalConfig,
    ModuleInstanceId, PeerId, PeerUrl,
};
use serde_json::Value;

use crate::runner::{Case, Done, assert_codec, json_round_trip, run_file, text};

#[test]
fn configs_agree_with_the_reference() {
    run_file("config.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("client-config", _) => client_config(case),
            ("federation-id", _) => federation_id(case),
            ("codec+json", "federation id") => {
                let id: FederationId = json_round_trip(&case.input["json"]);
                assert_codec(&id, &case.out["hex"]);
            }
            ("codec+json", "federation id prefix") => {
                let prefix: FederationIdPrefix = json_round_trip(&case.input["json"]);
                assert_codec(&prefix, &case.out["hex"]);
            }
            ("json-decode", "client config") => json_decode(case),
            (_, "ln client config" | "lnv2 client config") => {
                return Done::Skipped("module configs of lightning: its module crate");
            }
            (_, "mint client config" | "mintv2 client config") => {
                return Done::Skipped("module configs of the mint: moneta-mint");
            }
            (_, "wallet client config" | "walletv2 client config") => {
                return Done::Skipped("module configs of the wallet: moneta-wallet");
            }
            (_, "meta client config") => {
                return Done::Skipped("module config of meta: moneta-meta");
            }
            ("config-size", _) => return Done::Skipped("sizes of mint configs: moneta-mint"),
            ("walletv2-vbytes", _) => {
                return Done::Skipped("size estimates of the wallet: moneta-wallet");
            }
            ("module-fee", _) => {
                return Done::Skipped("fee rules of the modules: their module crates");
            }
            _ => case.unknown(),
        }
        Done::Ran
    });
}

fn client_config(case: &Case) {
    let config: ClientConfig = json_round_trip(&case.input["json"]);
    assert_codec(&config, &case.out["hex"]);
    assert_eq!(config.config_hash().to_string(), text(&case.out["config_hash"]));
    let id = config.federation_id();
    assert_eq!(id.to_string(), text(&case.out["federation_id"]));
    assert_eq!(id.prefix().to_string(), text(&case.out["federation_id_prefix"]));
    assert_eq!(config.size().unwrap().total(), config.global.api_endpoints.len());
    assert_eq!(config.check_update(&config), Ok(()));
    // The fields of known modules come from their crates: take them from the expected form.
    let expected = &case.out["client_config_json"];
    let readable = config.to_readable_json(|instance, entry| {
        assert_eq!(config.usable_module(instance), Some(entry));
        let mut fields = expected["modules"][instance.to_string()].as_object().unwrap().clone();
        let kind = fields.remove("kind").unwrap();
        assert_eq!(kind, entry.kind.as_str());
        (!fields.contains_key("unknown_module_hex")).then_some(fields)
    });
    assert_eq!(&readable, expected);
}

fn federation_id(case: &Case) {
    let api_endpoints: BTreeMap<PeerId, PeerUrl> =
        serde_json::from_value(case.input["api_endpoints"].clone()).unwrap();
    assert_codec(&api_endpoints, &case.out["endpoints_hex"]);
    let global = GlobalConfig {
        api_endpoints,
        broadcast_public_keys: None,
        consensus_version: CORE_CONSENSUS_2_1,
        meta: BTreeMap::new(),
    };
    assert_eq!(global.federation_id().to_string(), text(&case.out["federation_id"]));
}

fn json_decode(case: &Case) {
    let parsed: Result<ClientConfig, _> = serde_json::from_value(case.input["json"].clone());
    assert_eq!(parsed.is_ok(), case.is_accepted(), "{:?}", parsed.err());
    let Ok(config) = parsed else { return };
    if let Some(hash) = case.out.get("config_hash") {
        assert_eq!(config.config_hash().to_string(), text(hash));
    }
    if let Some(usable) = case.out.get("module_usable").and_then(Value::as_bool) {
        let instances: Vec<ModuleInstanceId> = config.modules.keys().copied().collect();
        for instance in instances {
            assert_eq!(config.usable_module(instance).is_some(), usable);
        }
    }
}
