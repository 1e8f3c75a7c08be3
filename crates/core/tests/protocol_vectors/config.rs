use std::collections::BTreeMap;

use moneta_core::{
    CORE_CONSENSUS_2_1, ClientConfig, FederationId, FederationIdPrefix, GlobalConfig,
    ModuleInstanceId, PeerId, PeerUrl,
};
use serde_json::Value;

use crate::check::{assert_codec, is_accepted, json_round_trip, text};
use crate::vectors::{Case, Outcome, run};

#[test]
fn configs_agree_with_the_reference() {
    run("config.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("client-config", _) => client_config(case),
            ("federation-id", _) => federation_id(case),
            ("codec+json", "federation id") => {
                let id: FederationId = json_round_trip(&case.input["json"]);
                assert_codec(&id, &case.output["hex"]);
            }
            ("codec+json", "federation id prefix") => {
                let prefix: FederationIdPrefix = json_round_trip(&case.input["json"]);
                assert_codec(&prefix, &case.output["hex"]);
            }
            ("json-decode", "client config") => json_decode(case),
            (_, "ln client config" | "lnv2 client config") => {
                return Outcome::Skipped("module configs of lightning: its module crate");
            }
            (_, "mint client config" | "mintv2 client config") => {
                return Outcome::Skipped("module configs of the mint: moneta-mint");
            }
            (_, "wallet client config" | "walletv2 client config") => {
                return Outcome::Skipped("module configs of the wallet: moneta-wallet");
            }
            (_, "meta client config") => {
                return Outcome::Skipped("module config of meta: moneta-meta");
            }
            ("config-size", _) => return Outcome::Skipped("sizes of mint configs: moneta-mint"),
            ("walletv2-vbytes", _) => {
                return Outcome::Skipped("size estimates of the wallet: moneta-wallet");
            }
            ("module-fee", _) => {
                return Outcome::Skipped("fee rules of the modules: their module crates");
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn client_config(case: &Case) {
    let config: ClientConfig = json_round_trip(&case.input["json"]);
    assert_codec(&config, &case.output["hex"]);
    assert_eq!(config.config_hash().to_string(), text(&case.output["config_hash"]));
    let id = config.federation_id();
    assert_eq!(id.to_string(), text(&case.output["federation_id"]));
    assert_eq!(id.prefix().to_string(), text(&case.output["federation_id_prefix"]));
    assert_eq!(config.size().unwrap().total(), config.global.api_endpoints.len());
    assert_eq!(config.check_update(&config), Ok(()));
    // The fields of known modules come from their crates: take them from the expected form.
    let expected = &case.output["client_config_json"];
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
    assert_codec(&api_endpoints, &case.output["endpoints_hex"]);
    let global = GlobalConfig {
        api_endpoints,
        broadcast_public_keys: None,
        consensus_version: CORE_CONSENSUS_2_1,
        meta: BTreeMap::new(),
    };
    assert_eq!(global.federation_id().to_string(), text(&case.output["federation_id"]));
}

fn json_decode(case: &Case) {
    let parsed: Result<ClientConfig, _> = serde_json::from_value(case.input["json"].clone());
    assert_eq!(parsed.is_ok(), is_accepted(case), "{:?}", parsed.err());
    let Ok(config) = parsed else { return };
    if let Some(hash) = case.output.get("config_hash") {
        assert_eq!(config.config_hash().to_string(), text(hash));
    }
    if let Some(usable) = case.output.get("module_usable").and_then(Value::as_bool) {
        let instances: Vec<ModuleInstanceId> = config.modules.keys().copied().collect();
        for instance in instances {
            assert_eq!(config.usable_module(instance).is_some(), usable);
        }
    }
}
