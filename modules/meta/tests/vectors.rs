//! The golden vectors of the meta module.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../crates/core/tests/vectors/mod.rs"]
mod vectors;

use moneta_core::{Encode, Envelope, ModuleInstanceId, role};
use moneta_meta::words::{ConsensusValue, MetaConfig, MetaItem, MetaKey, MetaValue, SubmitRequest};
use serde_json::{Value, json};
use vectors::{Case, Outcome};

#[test]
fn meta_vectors_hold() {
    vectors::run("meta.json", |case| match (case.op.as_str(), case.kind()) {
        ("codec+json", "meta item") => case.check_codec_and_json::<MetaItem>(),
        ("codec+json", "meta consensus value") => case.check_codec_and_json::<ConsensusValue>(),
        ("codec+json", "meta key") => case.check_codec_and_json::<MetaKey>(),
        ("decode", "meta item") => case.check_decode::<MetaItem>(),
        ("json-decode", "meta value") => case.check_json_decode::<MetaValue>(),
        ("json-decode", "meta key") => case.check_json_decode::<MetaKey>(),
        ("codec", "dyn") => enveloped_item(case),
        ("json", _) => json_shape(case),
        ("meta-value-json", _) => value_as_json(case),
        _ => Outcome::Unknown,
    });
}

#[test]
fn config_vectors_hold() {
    vectors::run("config.json", |case| match (case.op.as_str(), case.kind()) {
        ("codec", "meta client config") => case.check_reencoding::<MetaConfig>(),
        _ => Outcome::Skipped("belongs to core or to another module"),
    });
}

fn enveloped_item(case: &Case) -> Outcome {
    let instance = vectors::number(&case.input["value"]["instance"]);
    let value = MetaValue(br#"{"a":"b"}"#.to_vec());
    let item = MetaItem { salt: 7, key: MetaKey(0), value };
    let envelope = Envelope::<role::ConsensusItem>::new(ModuleInstanceId::new(instance), &item);
    assert_eq!(envelope.to_bytes(), case.out_hex("hex"));
    Outcome::Ran
}

fn json_shape(case: &Case) -> Outcome {
    let wanted = &case.output["json"];
    let written: Value = match case.name.as_str() {
        "submit request" => {
            let value = MetaValue(case.in_str("value_utf8").as_bytes().to_vec());
            let key = MetaKey(vectors::number(&case.input["key"]));
            json!(SubmitRequest { key, value })
        }
        "get_consensus parameter" => json!(MetaKey(vectors::number(&case.input["key"]))),
        "get_submission result" => {
            let votes = [(0, &b"{}"[..]), (2, &[0xff][..])];
            let votes = votes
                .map(|(peer, value)| (moneta_core::PeerId::new(peer), MetaValue(value.to_vec())));
            json!(std::collections::BTreeMap::from(votes))
        }
        _ => return Outcome::Unknown,
    };
    assert_eq!(written, *wanted);
    Outcome::Ran
}

/// The vectors read any JSON; the federation's metadata is an object and nothing else.
fn value_as_json(case: &Case) -> Outcome {
    let value = MetaValue(case.in_hex("value_hex"));
    let wanted = &case.output["json"];
    let read: Value = serde_json::from_slice(&value.0).unwrap();
    assert_eq!(read, *wanted);
    assert_eq!(value.to_fields().is_some(), wanted.is_object());
    Outcome::Ran
}
