use std::collections::BTreeMap;

use bitcoin::hashes::{Hash, sha256};
use moneta_core::invite::InviteTooLong;
use moneta_core::{ApiUrl, Decode, Encode, FederationId, InviteCode, PeerId, Secret};
use serde_json::Value;

use crate::check::{assert_codec, assert_json, is_accepted, round_trip, text};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn invite_codes_agree_with_the_reference() {
    run("invite.json", |case| {
        match case.op.as_str() {
            "invite" if case.input.get("url_path_x_count").is_some() => longest(case),
            "invite" => invite(case),
            "invite-decode" => decode(case),
            "invite-text" if case.input.get("text_len").is_some() => {
                let code = with_path(path_length(case));
                assert_eq!(code.to_bech32m(), Err(InviteTooLong));
                let hrp = bech32::Hrp::parse("fed1").unwrap();
                let unlimited = overlong_bech32m(hrp, &code.to_bytes());
                assert_eq!(case.input["text_len"], unlimited.len());
                assert!(unlimited.parse::<InviteCode>().is_err());
            }
            "invite-text" if case.input.get("url_path_x_count").is_some() => {
                let code = with_path(path_length(case));
                let text = code.to_base32();
                assert_eq!(case.output["text_len"], text.len());
                assert_eq!(sha256_of(&text), *crate::check::text(&case.output["sha256_of_text"]));
                assert_eq!(text.parse::<InviteCode>().unwrap(), code);
                assert_eq!(code.to_string(), text, "too long for bech32m");
            }
            "invite-text" => {
                let parsed = text(&case.input["text"]).parse::<InviteCode>();
                assert_eq!(parsed.is_ok(), is_accepted(case), "{parsed:?}");
                if let Ok(code) = parsed {
                    assert_codec(&code, &case.output["hex"]);
                }
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn invite(case: &Case) {
    let peers: BTreeMap<PeerId, ApiUrl> =
        serde_json::from_value(case.input["peers"].clone()).unwrap();
    let id: FederationId = text(&case.input["federation_id"]).parse().unwrap();
    let secret = case.input["api_secret"].as_str().map(Secret::new);
    let code = InviteCode::new(peers.clone(), id, secret.clone()).unwrap();
    assert_codec(&code, &case.output["hex"]);
    assert_eq!(code.to_string(), text(&case.output["bech32m"]));
    assert_eq!(code.to_base32(), text(&case.output["base32"]));
    assert_json(&code, &case.output["bech32m"]);
    for form in ["bech32m", "base32"] {
        assert_eq!(text(&case.output[form]).parse::<InviteCode>().unwrap(), code);
    }
    assert_eq!((code.peers(), code.federation_id()), (peers, id));
    assert_eq!(code.api_secret(), secret.as_ref());
    let (first_peer, first_url) = code.first_peer();
    assert_eq!(case.output["first_peer"], first_peer.0);
    assert_eq!(first_url.as_full_str(), text(&case.output["first_url"]));
}

fn decode(case: &Case) {
    let from_hex = InviteCode::from_bytes(&bytes(&case.input["hex"]));
    let from_text = text(&case.input["bech32m"]).parse::<InviteCode>();
    assert_eq!((from_hex.is_ok(), from_text.is_ok()), (is_accepted(case), is_accepted(case)));
    let code = from_hex.unwrap();
    assert_eq!(code, from_text.unwrap());
    assert_eq!(code.federation_id().to_string(), text(&case.output["federation_id"]));
    assert_eq!(code.api_secret().map(Secret::expose), case.output["api_secret"].as_str());
    assert_json(&code.peers(), &case.output["peers"]);
    assert_eq!(code.first_peer().1.as_full_str(), text(&case.output["first_url"]));
    assert_eq!(code, round_trip(&case.output["reencoded_hex"]));
    assert_eq!(code.to_string(), text(&case.output["reencoded_text"]));
}

/// The code whose only URL is `wss://a.example/` and this many `x`, for the federation of the
/// example config.
fn with_path(length: usize) -> InviteCode {
    let url: ApiUrl = format!("wss://a.example/{}", "x".repeat(length)).parse().unwrap();
    let apis = BTreeMap::from([(PeerId(0), url)]);
    let id = "8ac875208948a16df747af22fa434486fad696bce7c8f86f21b794e8a2ec7ea2";
    InviteCode::new(apis, id.parse().unwrap(), None).unwrap()
}

fn path_length(case: &Case) -> usize {
    usize::try_from(case.input["url_path_x_count"].as_u64().unwrap()).unwrap()
}

fn longest(case: &Case) {
    let length = path_length(case);
    let text = with_path(length).to_bech32m().unwrap();
    assert_eq!(case.output["text_len"], text.len());
    assert_eq!(Value::from(sha256_of(&text)), case.output["sha256_of_text"]);
    assert_eq!(with_path(length + 1).to_bech32m(), Err(InviteTooLong));
}

fn sha256_of(text: &str) -> String {
    sha256::Hash::hash(text.as_bytes()).to_string()
}

/// A bech32m text beyond the length limit, with a right checksum.
fn overlong_bech32m(hrp: bech32::Hrp, data: &[u8]) -> String {
    use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
    let digits = data.iter().copied().bytes_to_fes();
    digits.with_checksum::<bech32::Bech32m>(&hrp).chars().collect()
}

#[test]
fn api_secret_is_not_printed() {
    let apis = with_path(1).peers();
    let code = InviteCode::new(apis, FederationId([7; 32]), Some(Secret::new("hunter2"))).unwrap();
    assert!(!format!("{code:?}").contains("hunter2"));
    assert!(InviteCode::new(BTreeMap::new(), FederationId([7; 32]), None).is_err());
}
