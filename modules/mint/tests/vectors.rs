//! The golden vectors of `mintv2`: values, strings, configs, note keys.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../crates/core/tests/vectors/mod.rs"]
mod vectors;

use std::collections::BTreeMap;

use moneta_core::amount::{AmountUnit, Msat};
use moneta_core::envelope::{InputEnvelope, OutputEnvelope};
use moneta_core::id::{FederationId, ModuleInstanceId, PeerId};
use moneta_core::invite::InviteCode;
use moneta_core::{Decode, Encode};
use moneta_crypto::derive::{DerivableSecret, FederationSecrets};
use moneta_crypto::tbs::{
    AggregatePublicKey, BlindedMessage, PublicKeyShare, SecretKeyShare, public_key_share,
};
use moneta_mint::client::{NoteRequest, NoteSecrets};
use moneta_mint::words::{
    Denomination, ECash, Fees, MintConfig, MintInput, MintInputError, MintItem, MintOutcome,
    MintOutput, MintOutputError, RecoveryItem, SpendableNote, Tweak, hash160, slice_hash,
};
use serde_json::{Value, json};
use vectors::{Case, Outcome, bytes, number, run};

const V1: Outcome = Outcome::Skipped("kind `mint`, the first generation");
const ELSEWHERE: Outcome = Outcome::Skipped("belongs to another crate");

#[test]
fn every_case_of_mint_json_holds() {
    run("mint.json", |case| match case.op.as_str() {
        "mintv2-note" => note(case),
        "mintv2-tweak-filter" => {
            let secrets = secrets_with_filter(case);
            let tweak: Tweak = case.in_hex("tweak").try_into().unwrap();
            assert_eq!(secrets.recognises(&tweak), case.output["valid"]);
            Outcome::Ran
        }
        "mintv2-tweak-search" => {
            let secrets = secrets_with_filter(case);
            let tweaks = case.output["tweaks"].as_array().unwrap();
            let valid = (0..u128::MAX).map(u128::to_be_bytes).filter(|t| secrets.recognises(t));
            for (tweak, expected) in valid.zip(tweaks) {
                assert_eq!(hex::encode(tweak), expected.as_str().unwrap());
            }
            Outcome::Ran
        }
        "codec" | "decode" | "codec+json" => value(case),
        "mintv2-slice" => {
            let items: Vec<RecoveryItem> =
                serde_json::from_value(case.input["json"].clone()).unwrap();
            assert_eq!(hex::encode(items.to_bytes()), case.out_str("hex"));
            check_slice(&items, case);
            assert_eq!(serde_json::to_value(&items).unwrap(), case.input["json"]);
            Outcome::Ran
        }
        "mintv2-slice-run" => slice_run(case),
        "module-error" => module_error(case),
        "mint-slice" | "mint-note" | "outcome" | "mint-change" | "mint-select" => V1,
        _ => Outcome::Unknown,
    });
}

fn value(case: &Case) -> Outcome {
    let is_decode = case.op == "decode";
    match case.kind() {
        "mintv2 input" if is_decode => case.check_decode::<MintInput>(),
        "mintv2 input" => case.check_reencoding::<MintInput>(),
        "mintv2 output" if is_decode => case.check_decode::<MintOutput>(),
        "mintv2 output" => case.check_reencoding::<MintOutput>(),
        "mintv2 outcome" => case.check_codec(&MintOutcome {}),
        "mintv2 consensus item" => case.check_reencoding::<MintItem>(),
        "mintv2 recovery item" if is_decode => case.check_decode::<RecoveryItem>(),
        "mintv2 recovery item" => case.check_codec_and_json::<RecoveryItem>(),
        "mintv2 input error" => case.check_decode::<MintInputError>(),
        "mintv2 output error" => case.check_decode::<MintOutputError>(),
        kind if kind.starts_with("mint ") => V1,
        _ => Outcome::Unknown,
    }
}

/// The filter of these cases belongs to the module secret that all notes of the file use.
fn secrets_with_filter(case: &Case) -> NoteSecrets {
    let root = DerivableSecret::root(&[0; 32], &[0; 8]);
    assert_eq!(hex::encode(*root.raw::<32>()), case.in_str("filter"));
    NoteSecrets::new(root)
}

fn note(case: &Case) -> Outcome {
    let prk: [u8; 64] = case.in_hex("module_secret_prk").try_into().unwrap();
    let root = DerivableSecret::from_parts(0, prk);
    assert_eq!(hex::encode(*root.raw::<32>()), case.out_str("filter"));
    let secrets = NoteSecrets::new(root);
    let tweak: Tweak = case.in_hex("tweak").try_into().unwrap();
    let denomination = Denomination(number::<u8>(&case.input["denomination"]));
    let keys = secrets.keys(NoteRequest { denomination, tweak });
    let out = &case.output;
    assert_eq!(json!(secrets.recognises(&tweak)), out["tweak_valid"]);
    assert_eq!(denomination.value().unwrap().0, number::<u64>(&out["amount_msat"]));
    assert_eq!(keys.nonce().to_string(), case.out_str("nonce"));
    assert_eq!(keys.message().to_string(), case.out_str("message"));
    assert_eq!(keys.blinded().to_string(), case.out_str("blinded"));
    let blinded_hash = hash160(&keys.blinded().to_bytes());
    assert_eq!(blinded_hash.to_string(), case.out_str("blinded_hash160"));
    let nonce_hash = hash160(&keys.nonce().to_array());
    assert_eq!(nonce_hash.to_string(), case.out_str("nonce_hash160"));

    let note = keys.note(case.out_str("signature").parse().unwrap());
    assert_eq!(hex::encode(note.key.secret_bytes()), case.out_str("spend_secret"));
    let (input, output) = (note.input(), keys.output());
    assert_eq!(hex::encode(input.to_bytes()), case.out_str("input_hex"));
    assert_eq!(hex::encode(output.to_bytes()), case.out_str("output_hex"));
    assert_eq!(serde_json::to_value(&input).unwrap(), out["input_json"]);
    assert_eq!(serde_json::to_value(&output).unwrap(), out["output_json"]);
    let instance = ModuleInstanceId::new(4);
    let wire_input = InputEnvelope::new(instance, &input).to_bytes();
    assert_eq!(hex::encode(&wire_input), case.out_str("input_dyn"));
    assert_eq!(wire_input.len() + 64, MintInput::WIRE_BYTES);
    let wire_output = OutputEnvelope::new(instance, &output).to_bytes();
    assert_eq!(hex::encode(&wire_output), case.out_str("output_dyn"));
    assert_eq!(wire_output.len(), MintOutput::WIRE_BYTES);
    Outcome::Ran
}

fn check_slice(items: &[RecoveryItem], case: &Case) {
    let encoded: Vec<_> = items.iter().map(Encode::to_bytes).collect();
    assert_eq!(slice_hash(encoded.iter()).to_string(), case.out_str("hash"));
}

fn slice_run(case: &Case) -> Outcome {
    let nonce_hash = |hash: &str| hash.parse().unwrap();
    let items: Vec<_> = (0..300_u128)
        .map(|i| match i % 3 {
            0 => RecoveryItem::Input {
                nonce_hash: nonce_hash("2281817cf6cdffccac1e3a64c84aed88ebfe243b"),
            },
            _ => RecoveryItem::Output {
                denomination: Denomination((i % 42) as u8),
                nonce_hash: nonce_hash("aabfdca83ac8f598f5da4130394804bcd7fa5762"),
                tweak: i.to_be_bytes(),
            },
        })
        .collect();
    assert_eq!(items.to_bytes().len(), number::<usize>(&case.output["len"]));
    check_slice(&items, case);
    Outcome::Ran
}

fn module_error(case: &Case) -> Outcome {
    let name = case.in_str("error");
    let (bytes, text) = if let Some(rest) = name.strip_prefix("mintv2 input ") {
        let error = match rest.rsplit_once("variant ") {
            Some((_, variant)) => MintInputError::UnknownInputVariant(variant.parse().unwrap()),
            None => match rest {
                "SpentCoin" => MintInputError::SpentCoin,
                "InvalidDenomination" => MintInputError::InvalidDenomination,
                "InvalidSignature" => MintInputError::InvalidSignature,
                _ => return Outcome::Unknown,
            },
        };
        case.check_codec(&error);
        (error.to_bytes(), error.to_string())
    } else if let Some(rest) = name.strip_prefix("mintv2 output ") {
        let error = match rest.rsplit_once("variant ") {
            Some((_, variant)) => MintOutputError::UnknownOutputVariant(variant.parse().unwrap()),
            None => MintOutputError::InvalidDenomination,
        };
        case.check_codec(&error);
        (error.to_bytes(), error.to_string())
    } else {
        return V1;
    };
    assert_eq!(
        (hex::encode(bytes).as_str(), text.as_str()),
        (case.out_str("hex"), case.out_str("text"))
    );
    Outcome::Ran
}

#[test]
fn every_case_of_ecash_json_holds() {
    run("ecash.json", |case| match case.op.as_str() {
        "ecash-v2" => {
            let notes = case.input["notes"].as_array().unwrap().iter().map(note_of);
            let federation: FederationId = case.in_str("federation_id").parse().unwrap();
            let invite: Option<InviteCode> =
                case.output["invite"].as_str().map(|invite| invite.parse().unwrap());
            let unit = AmountUnit(number(&case.input["unit"]));
            let ecash = ECash::new(federation, notes, invite.as_ref(), unit);
            assert_eq!(hex::encode(ecash.to_bytes()), case.out_str("hex"));
            assert_eq!(ecash.to_string(), case.out_str("text"));
            assert_eq!(ecash.to_string().parse(), Ok(ecash.clone()));
            assert_eq!(ecash.unit(), unit);
            let operation = ecash.receive_operation();
            assert_eq!(operation.to_string(), case.out_str("receive_operation_id"));
            check_ecash(&ecash, case);
            Outcome::Ran
        }
        "ecash-v2-decode" => {
            let ecash = ECash::from_bytes(&case.in_hex("hex")).unwrap();
            check_ecash(&ecash, case);
            case.check_decode::<ECash>()
        }
        "ecash-v2-text" => {
            let read = case.in_str("text").parse::<ECash>();
            match read {
                Ok(ecash) => assert_eq!(hex::encode(ecash.to_bytes()), case.out_str("hex")),
                Err(_) => assert!(case.refused()),
            }
            Outcome::Ran
        }
        "decode" if case.kind() == "ecash v2" => case.check_decode::<ECash>(),
        "invite-text" => {
            assert!(case.in_str("text").parse::<InviteCode>().is_err());
            Outcome::Ran
        }
        op if op.starts_with("ecash-v1") => V1,
        _ => Outcome::Unknown,
    });
}

fn note_of(json: &Value) -> SpendableNote {
    let mut encoded = vec![number::<u8>(&json["denomination"])];
    encoded.extend(bytes(&json["spend_secret"]));
    encoded.extend(bytes(&json["signature"]));
    SpendableNote::from_bytes(&encoded).unwrap()
}

fn check_ecash(ecash: &ECash, case: &Case) {
    let out = &case.output;
    assert_eq!(ecash.amount(), Some(Msat(number(&out["amount_msat"]))));
    assert_eq!(json!(ecash.federation()), out["mint"]);
    assert_eq!(json!(ecash.invite()), out["invite"]);
    for note in ecash.notes() {
        let secret = hex::encode(note.key.secret_bytes());
        assert!(!format!("{ecash:?} {:?} {note:?}", ecash.parts()).contains(&secret[..16]));
    }
}

#[test]
fn every_case_of_config_json_that_is_about_mintv2_holds() {
    run("config.json", |case| match (case.op.as_str(), case.kind()) {
        ("codec+json", "mintv2 client config") => case.check_codec_and_json::<MintConfig>(),
        ("json-decode", "mintv2 client config") => case.check_json_decode::<MintConfig>(),
        ("decode", "mintv2 client config") => case.check_decode::<MintConfig>(),
        ("module-fee", _) if case.in_str("module").contains("mintv2") => {
            let base = Msat(number(&case.input["base"]));
            let fees = Fees::new(base, number(&case.input["ppm"])).unwrap();
            for row in case.output["amount_fee"].as_array().unwrap() {
                assert_eq!(fees.fee(Msat(number(&row[0]))), Msat(number(&row[1])));
            }
            Outcome::Ran
        }
        ("config-size", _) => config_size(case),
        ("client-config", _) => mint_in_client_config(case),
        ("codec+json" | "json-decode" | "codec" | "decode", _) => ELSEWHERE,
        ("federation-id" | "walletv2-vbytes" | "module-fee", _) => ELSEWHERE,
        _ => Outcome::Unknown,
    });
}

/// The shares of the example polynomial; its aggregate key stands for every denomination.
fn config_size(case: &Case) -> Outcome {
    let share = |peer: u64| {
        let x = peer + 1;
        let value = 1_000_003 + 2_000_006 * x + 3_000_009 * x * x;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        public_key_share(&SecretKeyShare::from_bytes(&bytes).unwrap())
    };
    let zero: AggregatePublicKey = "8759e40083a585d67f765f343a9489d373d060d18712713d0a6e9a6c700b44adee6f42356309b1c6bcd62b94e2ca7dc214c23fb3a33a5a009455087c39598bfa5d0dfd055b7041aded3cc5d0d800a2f8fc2d6b3a7f548cd9bcab56f8245a622d".parse().unwrap();
    let shares: BTreeMap<PeerId, PublicKeyShare> =
        (0..number::<u16>(&case.input["n"])).map(|i| (PeerId::new(i), share(i.into()))).collect();
    let config = MintConfig {
        tbs_agg_pks: Denomination::all().map(|d| (d, zero)).collect(),
        tbs_pks: Denomination::all().map(|d| (d, shares.clone())).collect(),
        fee_consensus: Fees::DEFAULT,
        amount_unit: AmountUnit::BITCOIN,
    };
    let encoded = config.to_bytes();
    assert_eq!(encoded.len(), number::<usize>(&case.output["mintv2_len"]));
    let hash = config.consensus_hash().to_string();
    assert_eq!(hash, case.out_str("mintv2_sha256"), "the keys of peers above 3 are a guess");
    Outcome::Ran
}

/// The module's part inside whole client configs.
fn mint_in_client_config(case: &Case) -> Outcome {
    let modules = case.input["json"]["modules"].as_object();
    let mut seen = false;
    for module in modules.into_iter().flat_map(|modules| modules.values()) {
        if module["kind"] == "mintv2" {
            let envelope = bytes(&module["config"]);
            let envelope = InputEnvelope::from_bytes(&envelope).unwrap();
            let config = envelope.decode::<MintConfig>().unwrap();
            assert_eq!(config.to_bytes(), envelope.bytes);
            seen = true;
        }
    }
    if seen { Outcome::Ran } else { ELSEWHERE }
}

#[test]
fn every_case_of_secrets_json_that_is_about_mintv2_holds() {
    run("secrets.json", |case| match case.op.as_str() {
        "mintv2-note-keys" => note_keys(case),
        "derive" | "guardian-seed" | "mnemonic-chain" | "plain-root" | "mint-note-keys"
        | "lnv2-static-keys" | "ln-keys" | "wallet-keys" | "walletv2-keys" | "codec"
        | "client-backup" => ELSEWHERE,
        _ => Outcome::Unknown,
    });
}

fn note_keys(case: &Case) -> Outcome {
    let words: bip39::Mnemonic = case.in_str("words").parse().unwrap();
    let federation: FederationId = case.in_str("federation_id").parse().unwrap();
    let secrets = FederationSecrets::from_seed(&words.to_seed(""), &federation.0);
    let root = secrets.module(number::<u16>(&case.input["instance"]));
    assert_eq!(hex::encode(*root.raw::<32>()), case.out_str("filter"));
    let secrets = NoteSecrets::new(root);
    let tweak: Tweak = case.in_hex("tweak").try_into().unwrap();
    let denomination = Denomination(number::<u8>(&case.input["denomination"]));
    let keys = secrets.keys(NoteRequest { denomination, tweak });
    assert_eq!(json!(secrets.recognises(&tweak)), case.output["tweak_valid"]);
    assert_eq!(keys.nonce().to_string(), case.out_str("nonce"));
    let blinded: BlindedMessage = case.out_str("blinded_message").parse().unwrap();
    assert_eq!(keys.blinded(), blinded);
    let zero = "0000000000000000000000000000000000000000000000000000000000000000";
    let signature = format!("c0{}", &zero.repeat(2)[..94]).parse().unwrap();
    let secret = keys.note(signature).key.secret_bytes();
    assert_eq!(hex::encode(secret), case.out_str("spend_secret"));
    Outcome::Ran
}
