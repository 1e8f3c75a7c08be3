use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use moneta_core::session::{SignerRule, merkle_root};
use moneta_core::{
    AcceptedItem, Decode, Encode, MeBase64, MeHex, PeerId, SessionIndex, SessionOutcome,
    SessionStatus, SessionStatusV2, SignedSessionOutcome,
};
use serde_json::Value;

use crate::check::{is_accepted, json_round_trip, numbered_key, round_trip, text};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn sessions_agree_with_the_reference() {
    run("session.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("codec", "accepted item") => {
                let item: AcceptedItem = round_trip(&case.output["hex"]);
                assert_eq!(case.input["peer"], item.peer.0);
                assert_eq!(hex::encode(item.leaf()), text(&case.output["leaf"]));
            }
            ("session", _) => session(case),
            ("session-verify", _) => {
                let signed = SignedSessionOutcome::from_bytes(&bytes(&case.input["signed_hex"]));
                let verified =
                    signed.unwrap().verify(index(case), &keys(case), SignerRule::AtLeastThreshold);
                assert_eq!(verified.is_ok(), case.output["valid"] == true, "{verified:?}");
            }
            ("session-header", _) => {
                for (items, header) in [("items_a", "header_a"), ("items_b", "header_b")] {
                    let outcome = SessionOutcome { items: items_of(&case.input[items]) };
                    let bytes = outcome.header(index(case)).to_header_bytes();
                    assert_eq!(hex::encode(bytes), text(&case.output[header]));
                }
            }
            ("session-status", _) => status(case),
            ("decode", "session status") => {
                let bytes = bytes(&case.input["hex"]);
                assert_eq!(SessionStatus::from_bytes(&bytes).is_ok(), is_accepted(case));
                assert_eq!(SessionStatusV2::from_bytes(&bytes).is_ok(), is_accepted(case));
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn index(case: &Case) -> SessionIndex {
    SessionIndex(case.input["index"].as_u64().unwrap())
}

fn keys(case: &Case) -> BTreeMap<PeerId, PublicKey> {
    serde_json::from_value(case.input["broadcast_public_keys"].clone()).unwrap()
}

fn items_of(items: &Value) -> Vec<AcceptedItem> {
    items.as_array().unwrap().iter().map(round_trip).collect()
}

fn session(case: &Case) {
    let keys = keys(case);
    assert_eq!(keys.consensus_hash().to_string(), text(&case.output["keys_hash"]));
    let outcome = SessionOutcome { items: items_of(&case.input["items"]) };
    assert_eq!(outcome, round_trip(&case.output["outcome_hex"]));
    let leaves: Vec<[u8; 32]> = outcome.items.iter().map(AcceptedItem::leaf).collect();
    let expected: Vec<Vec<u8>> =
        case.output["leaves"].as_array().unwrap().iter().map(bytes).collect();
    assert_eq!(leaves.iter().map(|leaf| leaf.to_vec()).collect::<Vec<_>>(), expected);
    let header = outcome.header(index(case));
    assert_eq!(header.root, merkle_root(leaves));
    assert_eq!(hex::encode(header.to_header_bytes()), text(&case.output["header"]));
    assert_eq!(hex::encode(header.signed_message(&keys)), text(&case.output["message"]));

    let signers = case.input["signers"].as_array().unwrap().iter();
    let signatures = signers.map(|peer| {
        let peer = peer.as_u64().unwrap();
        let signature = header.sign(&keys, &numbered_key(peer + 1));
        let signer = PeerId(u16::try_from(peer).unwrap());
        assert!(header.verify_one(&keys, signer, &signature));
        (signer, signature)
    });
    let signed =
        SignedSessionOutcome { signatures: signatures.collect(), session_outcome: outcome };
    assert_eq!(signed, round_trip(&case.output["signed_hex"]));
    let valid = case.output["valid"] == true;
    for rule in [SignerRule::AtLeastThreshold, SignerRule::ExactlyThreshold] {
        assert_eq!(signed.verify(index(case), &keys, rule).is_ok(), valid);
    }
}

fn status(case: &Case) {
    let status: SessionStatus = round_trip(&case.output["hex"]);
    let MeHex(same) = json_round_trip::<MeHex<SessionStatus>>(&case.output["me_hex"]);
    assert_eq!(same, status);
    let signed: SessionStatusV2 = round_trip(&case.output["v2_hex"]);
    let MeBase64(same) = json_round_trip::<MeBase64<SessionStatusV2>>(&case.output["v2_me_base64"]);
    assert_eq!(same, signed);
    assert_eq!(SessionStatus::from(signed), status);
}

#[test]
fn guardians_refuse_more_signatures_than_the_threshold() {
    let keys: BTreeMap<PeerId, PublicKey> =
        (0..4).map(|peer| (PeerId(peer), numbered_key(u64::from(peer) + 1).public_key())).collect();
    let index = SessionIndex(9);
    let header = SessionOutcome::default().header(index);
    let signed_by = |count: u16| SignedSessionOutcome {
        session_outcome: SessionOutcome::default(),
        signatures: (0..count)
            .map(|peer| (PeerId(peer), header.sign(&keys, &numbered_key(u64::from(peer) + 1))))
            .collect(),
    };
    let verdict = |count, rule| signed_by(count).verify(index, &keys, rule).is_ok();
    assert!(!verdict(2, SignerRule::AtLeastThreshold));
    assert!(verdict(3, SignerRule::AtLeastThreshold) && verdict(3, SignerRule::ExactlyThreshold));
    assert!(verdict(4, SignerRule::AtLeastThreshold) && !verdict(4, SignerRule::ExactlyThreshold));
    let nobody = signed_by(0).verify(index, &BTreeMap::new(), SignerRule::AtLeastThreshold);
    assert!(nobody.is_err(), "no keys");
}
