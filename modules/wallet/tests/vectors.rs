//! The words of the module against the golden vectors, whole files.

#![allow(clippy::unwrap_used)]

#[path = "../../../crates/core/tests/vectors/mod.rs"]
mod vectors;

use std::collections::BTreeMap;

use bitcoin::Address;
use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::{Network, ScriptBuf};
use moneta_core::envelope::{ClientConfigEnvelope, InputEnvelope, OutputEnvelope};
use moneta_core::{Decode, Encode, FederationId, FederationSize, ModuleInstanceId, Msat, PeerId};
use moneta_crypto::derive::{DerivableSecret, FederationSecrets};
use moneta_wallet::descriptor::{Descriptor, change_tweak, claim_tweak};
use moneta_wallet::words::{
    FederationWallet, FeeConsensus, OutputInfo, SizeEstimates, StandardScript, WalletConfig,
    WalletInput, WalletInputError, WalletItem, WalletOutput, WalletOutputError,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vectors::{Case, Outcome, number, run};

fn parsed<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn guardian_keys(n: u8) -> BTreeMap<PeerId, PublicKey> {
    let secp = Secp256k1::new();
    let key = |i| SecretKey::from_slice(&[i + 1; 32]).unwrap().public_key(&secp);
    (0..n).map(|i| (PeerId::new(u16::from(i)), key(i))).collect()
}

fn descriptor(n: u8) -> Descriptor {
    Descriptor::new(&guardian_keys(n)).unwrap()
}

#[test]
fn words_agree_with_the_reference() {
    run("walletv2.json", |case| match (case.op.as_str(), case.kind()) {
        ("walletv2-pks-hash", _) => pks_hash(case),
        ("walletv2-address", _) => address(case),
        ("walletv2-script", _) => script(case),
        ("walletv2-filter", _) => filter(case),
        ("codec+json", "walletv2 input") => case.check_codec_and_json::<WalletInput>(),
        ("codec+json", "walletv2 output") => case.check_codec_and_json::<WalletOutput>(),
        ("codec+json", "walletv2 consensus item") => case.check_codec_and_json::<WalletItem>(),
        ("codec+json", "federation wallet") => case.check_codec_and_json::<FederationWallet>(),
        ("codec", "walletv2 input") => unknown_input(case),
        ("dyn", _) => in_envelope(case),
        ("walletv2-standard-script", _) => standard_script(case),
        ("walletv2-address-to-script", _) => address_to_script(case),
        ("decode", "walletv2 output") => case.check_decode::<WalletOutput>(),
        ("decode", "walletv2 input error") => case.check_decode::<WalletInputError>(),
        ("walletv2-change-tweak", _) => change(case),
        ("json", _) if case.name == "output info" => output_info(case),
        ("json-decode", "output info") => case.check_json_decode::<OutputInfo>(),
        ("module-error", _) => module_error(case),
        _ => Outcome::Unknown,
    });
}

fn pks_hash(case: &Case) -> Outcome {
    let keys: BTreeMap<PeerId, PublicKey> = parsed(&case.input["bitcoin_pks"]);
    assert_eq!(hex::encode(keys.to_bytes()), case.out_str("encoded"));
    let descriptor = Descriptor::new(&keys).unwrap();
    assert_eq!(descriptor.pks_hash().to_string(), case.out_str("pks_hash"));
    Outcome::Ran
}

fn address(case: &Case) -> Outcome {
    let keys: BTreeMap<PeerId, PublicKey> = parsed(&case.input["bitcoin_pks"]);
    let network: Network = parsed(&case.input["network"]);
    let prk = case.in_hex("module_secret_prk").try_into().unwrap();
    let secret = DerivableSecret::from_parts(0, prk);
    let claim_key = secret.child(number(&case.input["index"])).secp_keypair();
    let descriptor = Descriptor::new(&keys).unwrap();
    assert_eq!(descriptor.threshold(), number::<usize>(&case.input["threshold"]));

    let tweak = claim_tweak(&claim_key.public_key());
    let tweaked: Vec<_> = descriptor.tweaked_keys(&tweak).unwrap().into_values().collect();
    let script = descriptor.script_pubkey(&tweak).unwrap();
    let shown = json!({
        "address": Address::from_script(&script, network).unwrap().to_string(),
        "claim_key": claim_key.public_key(),
        "claim_secret": hex::encode(claim_key.secret_bytes()),
        "filter_hash": descriptor.filter_hash(&script),
        "passes_filter": descriptor.is_logged(&script),
        "pks_hash": descriptor.pks_hash(),
        "script_pubkey": script,
        "tweak": tweak,
        "tweaked_keys": tweaked,
        "witness_script": descriptor.witness_script(&tweak).unwrap(),
    });
    assert_eq!(shown, case.output);
    Outcome::Ran
}

fn script(case: &Case) -> Outcome {
    let descriptor = descriptor(number::<u8>(&case.input["n"]));
    let tweak: sha256::Hash = parsed(&case.input["tweak"]);
    let script = descriptor.script_pubkey(&tweak).unwrap();
    let witness_script = descriptor.witness_script(&tweak).unwrap();
    let shown = json!({ "script_pubkey": script, "witness_script": witness_script });
    assert_eq!(shown, case.output);
    Outcome::Ran
}

fn filter(case: &Case) -> Outcome {
    let descriptor = descriptor(4);
    assert_eq!(descriptor.pks_hash().to_string(), case.in_str("pks_hash"));
    let script: ScriptBuf = parsed(&case.input["script"]);
    assert_eq!(descriptor.filter_hash(&script).to_string(), case.out_str("hash"));
    assert_eq!(descriptor.is_logged(&script), case.output["passes"].as_bool().unwrap());
    Outcome::Ran
}

fn unknown_input(case: &Case) -> Outcome {
    let [variant, payload] = parsed::<[String; 2]>(&case.input["value"]["unknown"]);
    let input = WalletInput::Unknown {
        variant: variant.parse().unwrap(),
        bytes: hex::decode(payload).unwrap(),
    };
    case.check_codec(&input)
}

fn in_envelope(case: &Case) -> Outcome {
    let instance: ModuleInstanceId = parsed(&case.input["instance"]);
    let json = &case.input["json"];
    if case.name.starts_with("input") {
        case.check_codec(&InputEnvelope::new(instance, &parsed::<WalletInput>(json)))
    } else {
        case.check_codec(&OutputEnvelope::new(instance, &parsed::<WalletOutput>(json)))
    }
}

fn standard_script(case: &Case) -> Outcome {
    let script: StandardScript = parsed(&case.input["json"]);
    case.check_codec(&script);
    let script_pubkey = script.to_script_pubkey();
    assert_eq!(json!(script_pubkey), case.output["script_pubkey"]);
    if let Some(script_pubkey) = script_pubkey {
        assert_eq!(StandardScript::from_script_pubkey(&script_pubkey), Some(script));
    }
    Outcome::Ran
}

fn address_to_script(case: &Case) -> Outcome {
    let network: Network = parsed(&case.input["network"]);
    let address: Address<NetworkUnchecked> = parsed(&case.input["address"]);
    let script_pubkey = address.require_network(network).unwrap().script_pubkey();
    assert_eq!(json!(script_pubkey), case.output["script_pubkey"]);
    let script = StandardScript::from_script_pubkey(&script_pubkey);
    assert_eq!(json!(script.is_some()), case.output["payable"]);
    assert_eq!(json!(script.map(|script| hex::encode(script.to_bytes()))), case.output["hex"]);
    Outcome::Ran
}

fn change(case: &Case) -> Outcome {
    let wallet = FederationWallet::from_bytes(&case.in_hex("hex")).unwrap();
    let tweak = change_tweak(&wallet);
    assert_eq!(tweak.to_string(), case.out_str("tweak"));
    let script = descriptor(4).script_pubkey(&tweak).unwrap();
    assert_eq!(json!(script), case.output["change_script"]);
    Outcome::Ran
}

fn output_info(case: &Case) -> Outcome {
    let info: OutputInfo = parsed(&case.output["json"]);
    assert_eq!(json!(info), case.output["json"]);
    Outcome::Ran
}

fn module_error(case: &Case) -> Outcome {
    let encoded = case.out_hex("hex");
    // The error's name stands behind the first word.
    let name = case.in_str("error").split([' ', '(']).nth(1).unwrap();
    let (text, debug, again) = if case.in_str("error").starts_with("input") {
        let error = WalletInputError::from_bytes(&encoded).unwrap();
        (error.to_string(), format!("{error:?}"), error.to_bytes())
    } else {
        let error = WalletOutputError::from_bytes(&encoded).unwrap();
        (error.to_string(), format!("{error:?}"), error.to_bytes())
    };
    assert_eq!((text.as_str(), again), (case.out_str("text"), encoded));
    assert!(debug.starts_with(name), "{debug} is not {name}");
    Outcome::Ran
}

#[test]
fn configs_and_fees_agree_with_the_reference() {
    run("config.json", |case| match (case.op.as_str(), case.kind()) {
        ("codec+json", "walletv2 client config") => case.check_codec_and_json::<WalletConfig>(),
        ("walletv2-vbytes", _) => {
            let size = FederationSize::new(number(&case.input["n"])).unwrap();
            let SizeEstimates { send_tx_vbytes, receive_tx_vbytes } =
                SizeEstimates::of(size).unwrap();
            let shown = json!({ "receive": receive_tx_vbytes, "send": send_tx_vbytes });
            assert_eq!(shown, case.output);
            Outcome::Ran
        }
        ("module-fee", _) if case.input["module"] == "walletv2" => {
            let fees = FeeConsensus {
                base: Msat(number(&case.input["base"])),
                parts_per_million: number(&case.input["ppm"]),
            };
            for [amount, fee] in parsed::<Vec<[u64; 2]>>(&case.output["amount_fee"]) {
                assert_eq!(fees.fee(Msat(amount)), Msat(fee));
            }
            Outcome::Ran
        }
        ("module-fee", _) => Outcome::Skipped("fees of the other modules"),
        ("codec+json", "wallet client config") => Outcome::Skipped("first generation"),
        (
            "client-config" | "federation-id" | "json-decode" | "config-size" | "codec+json"
            | "codec" | "decode",
            _,
        ) => Outcome::Skipped("configs of the core and of the other modules"),
        _ => Outcome::Unknown,
    });
}

#[test]
fn claim_keys_agree_with_the_reference() {
    run("secrets.json", |case| {
        if case.op != "walletv2-keys" {
            return Outcome::Skipped("secrets of the core and of the other modules");
        }
        let words = bip39::Mnemonic::parse(case.in_str("words")).unwrap();
        let id: FederationId = parsed(&case.input["federation_id"]);
        let secrets = FederationSecrets::from_seed(&words.to_seed(""), id.as_byte_array());
        let module = secrets.module(number(&case.input["instance"]));
        let keys: Vec<PublicKey> = parsed(&case.output["keys"]);
        for (index, key) in (0..).zip(keys) {
            assert_eq!(module.child(index).secp_keypair().public_key(), key);
        }
        Outcome::Ran
    });
}

/// The rows of docs/protocol/wallet.md 5.1 that no vector file has.
#[test]
fn first_valid_address_is_that_of_the_table() {
    let secret = DerivableSecret::root(&[0; 32], &[0; 32]);
    let descriptor = descriptor(4);
    let key = secret.child(172_249).secp_keypair().public_key();
    assert_eq!(
        key.to_string(),
        "020b5bb6fc3d704f938673ddfdad0f3b127ed6016e947b99116305159a1a7ab005"
    );
    let script = descriptor.script_pubkey(&claim_tweak(&key)).unwrap();
    assert_eq!(
        descriptor.filter_hash(&script).to_string(),
        "0000a4748cc52a48656c8dcae2ea3f6344f31a99274161f81f3b72328891228c"
    );
    assert!(descriptor.is_logged(&script));
    assert_eq!(
        Address::from_script(&script, Network::Regtest).unwrap().to_string(),
        "bcrt1qxh95cacm78sewz243j5dgr93dnkmunratzg2wn2y6vxgq9jjq4us0ej4lx"
    );
}

#[test]
fn client_config_in_its_envelope_is_that_of_the_table() {
    let config =
        WalletConfig::genesis(guardian_keys(4), Network::Regtest, WalletConfig::BASE_FEE).unwrap();
    let envelope = ClientConfigEnvelope::new(ModuleInstanceId(2), &config);
    let expected = concat!(
        "029d0400031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f01024d4b6cd136",
        "1032ca9bd2aeb9d900aa4d45d9ead80ac9423374c451a7254d07660202531fe6068134503d2723133227c867",
        "ac8fa6c83c537e9a44c3c5bdbdcb1fe3370303462779ad4aad39514614751a71085f2f10e1c7a593e4e030ef",
        "b5b8721ce55b0b0000e4fd013cfafd2710fe000186a000fabfb5da",
    );
    assert_eq!(hex::encode(envelope.to_bytes()), expected);
}

#[test]
fn more_keys_than_a_script_holds_are_refused() {
    assert!(Descriptor::new(&guardian_keys(20)).is_some());
    assert!(Descriptor::new(&guardian_keys(21)).is_none());
    assert!(Descriptor::new(&BTreeMap::new()).is_none());
    assert!(WalletConfig::genesis(guardian_keys(21), Network::Regtest, Msat::ZERO).is_none());
}

#[test]
fn tweak_beyond_the_group_order_gives_no_key() {
    let tweak = sha256::Hash::from_byte_array([0xff; 32]);
    assert!(descriptor(4).script_pubkey(&tweak).is_err());
}
