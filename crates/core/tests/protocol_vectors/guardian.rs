use bitcoin::secp256k1::PublicKey;
use moneta_core::announcement::{
    ApiAnnouncement, GuardianMetadata, SignedApiAnnouncement, SignedGuardianMetadata,
    SubmittedApiAnnouncement, SubmittedGuardianMetadata,
};
use moneta_core::{Decode, Encode, PeerSetupCode, Timestamp};
use serde_json::Value;

use crate::check::{
    assert_codec, assert_json, is_accepted, json_round_trip, numbered_key, round_trip, text,
};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn guardian_words_agree_with_the_reference() {
    run("guardian.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("api-announcement", _) => announcement(case),
            ("json", _) if case.input.get("announcement").is_some() => {
                let submitted: SubmittedApiAnnouncement = json_round_trip(&case.output["json"]);
                assert_codec(&submitted, &case.output["hex"]);
                assert_eq!(case.input["peer_id"], submitted.peer_id.0);
                assert_json(&submitted.signed, &case.input["announcement"]);
            }
            ("json", _) if case.input.get("signed").is_some() => {
                let submitted: SubmittedGuardianMetadata = json_round_trip(&case.output["json"]);
                assert_codec(&submitted, &case.output["hex"]);
                assert_eq!(case.input["peer_id"], submitted.peer_id.0);
                assert_json(&submitted.signed, &case.input["signed"]);
            }
            ("api-announcement-verify", _) => {
                let signed: SignedApiAnnouncement = json_round_trip(&case.input["json"]);
                assert_eq!(signed.verify(&public_key(case)), case.output["valid"] == true);
            }
            ("guardian-metadata", _) => metadata(case),
            ("guardian-metadata-verify", _) => metadata_verify(case),
            ("json-decode", "signed guardian metadata") => {
                let json = case.input["json"].clone();
                let parsed = serde_json::from_value::<SignedGuardianMetadata>(json);
                assert_eq!(parsed.is_ok(), is_accepted(case));
            }
            ("decode", "setup code") => {
                let decoded = PeerSetupCode::from_bytes(&bytes(&case.input["hex"]));
                assert_eq!(decoded.is_ok(), is_accepted(case));
            }
            ("setup-code", _) => setup_code(case),
            ("setup-code-order", _) => setup_code_order(case),
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn public_key(case: &Case) -> PublicKey {
    text(&case.input["public_key"]).parse().unwrap()
}

fn announcement(case: &Case) {
    let key = numbered_key(case.input["secret_key"].as_u64().unwrap());
    assert_eq!(key.public_key().to_string(), text(&case.output["public_key"]));
    let api_url = text(&case.input["api_url"]).parse().unwrap();
    let announcement = ApiAnnouncement { api_url, nonce: case.input["nonce"].as_u64().unwrap() };
    assert_codec(&announcement, &case.output["encoded"]);
    assert_eq!(hex::encode(announcement.digest()), text(&case.output["digest"]));
    let signed = announcement.sign(&key);
    assert_eq!(signed.signature.to_string(), text(&case.output["signature"]));
    assert_codec(&signed, &case.output["signed_hex"]);
    assert_json(&signed, &case.output["json"]);
    assert!(signed.verify(&key.public_key()));
}

fn metadata(case: &Case) {
    let key = numbered_key(case.input["secret_key"].as_u64().unwrap());
    let metadata: GuardianMetadata = json_round_trip(&case.input["value"]);
    let signed = metadata.clone().sign(&key);
    assert_eq!(signed.content(), text(&case.output["content"]));
    assert_eq!(hex::encode(signed.digest()), text(&case.output["digest"]));
    assert_eq!(signed.signature().to_string(), text(&case.output["signature"]));
    assert_codec(&signed, &case.output["hex"]);
    let parsed: SignedGuardianMetadata = json_round_trip(&case.output["json"]);
    assert_eq!(parsed, signed);
    assert_eq!(parsed.metadata(), &metadata);
    let now_secs = case.input["now_secs"].as_u64().unwrap();
    let verified = signed.verify(&key.public_key(), now_secs);
    assert_eq!(verified.is_ok(), case.output["valid"] == true);
}

fn metadata_verify(case: &Case) {
    let signed: SignedGuardianMetadata = json_round_trip(&case.input["json"]);
    let now_secs = case.input["now_secs"].as_u64().unwrap();
    let verified = signed.verify(&public_key(case), now_secs);
    assert_eq!(verified.is_ok(), case.output["valid"] == true);
    if let Some(digest) = case.output.get("digest") {
        assert_eq!(hex::encode(signed.digest()), text(digest));
        assert_json(signed.metadata(), &case.output["parsed"]);
        assert_json(&signed, &case.output["reserialized_json"]);
    }
}

fn setup_code(case: &Case) {
    let code: PeerSetupCode = json_round_trip(&case.input["json"]);
    assert_codec(&code, &case.output["hex"]);
    assert_eq!(code.to_string(), text(&case.output["text"]));
    assert_eq!(text(&case.output["text"]).parse::<PeerSetupCode>().unwrap(), code);
    assert_eq!(code.fedimint_version.compatibility(), text(&case.output["compatibility"]));
}

fn setup_code_order(case: &Case) {
    let example = "05416c69636500341477733a2f2f3132372e302e302e313a383137342f19666564696d696e743a2f\
                   2f3132372e302e302e313a3831373304deadbeef0108546573742046656401000102046c6e763206\
                   6d696e7476320104fabfb5da06302e31332e30";
    let example: PeerSetupCode = round_trip(&Value::from(example));
    let names = case.input["names"].as_array().unwrap().iter();
    let named = |name: &Value| PeerSetupCode { name: text(name).to_owned(), ..example.clone() };
    let mut codes: Vec<PeerSetupCode> = names.map(named).collect();
    codes.sort();
    let order: Vec<&str> = codes.iter().map(|code| code.name.as_str()).collect();
    assert_json(&order, &case.output["order"]);
}

#[test]
fn timestamps_have_the_json_and_bytes_of_the_page() {
    let json = serde_json::json!({"secs_since_epoch": 42, "nanos_since_epoch": 100});
    let time: Timestamp = json_round_trip(&json);
    assert_eq!(time.to_bytes(), [0x2a, 0x64]);
    let beyond = serde_json::json!({"secs_since_epoch": u64::MAX, "nanos_since_epoch": 0});
    assert!(serde_json::from_value::<Timestamp>(beyond).is_err());
}
