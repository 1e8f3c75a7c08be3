use bitcoin::hashes::{Hash, sha256};
use moneta_core::{ClientBackup, Encode};
use serde_json::Value;

use crate::check::{round_trip, text};
use crate::vectors::{Case, Outcome, bytes, run};

#[test]
fn client_backups_agree_with_the_reference() {
    run("secrets.json", |case| {
        match (case.op.as_str(), case.kind()) {
            ("client-backup", _) => client_backup(case),
            ("codec", "mint backup" | "wallet backup" | "no backup") => {
                return Outcome::Skipped("module backups: the module crates");
            }
            ("derive" | "guardian-seed" | "mnemonic-chain" | "plain-root" | "backup-keys", _) => {
                return Outcome::Skipped("derivations: moneta-crypto");
            }
            (op, _) if op.ends_with("-keys") => {
                return Outcome::Skipped("keys of modules: the module crates");
            }
            _ => return Outcome::Unknown,
        }
        Outcome::Ran
    });
}

fn client_backup(case: &Case) {
    let metadata = match &case.input["metadata"] {
        Value::String(hex) => hex::decode(hex).unwrap(),
        rule => {
            let count = usize::try_from(rule["count"].as_u64().unwrap()).unwrap();
            bytes(&rule["repeat"]).repeat(count)
        }
    };
    let session_count = case.input["session_count"].as_u64().unwrap();
    let backup = match &case.input["encoded"] {
        Value::Null => ClientBackup { session_count, metadata, modules: Default::default() },
        encoded => {
            let backup: ClientBackup = round_trip(encoded);
            assert_eq!((backup.session_count, &backup.metadata), (session_count, &metadata));
            backup
        }
    };
    let encoded = backup.to_bytes();
    assert_eq!(case.input["encoded_len"], encoded.len());
    assert_eq!(sha256::Hash::hash(&encoded).to_string(), text(&case.input["encoded_sha256"]));

    let key: [u8; 32] = bytes(&case.input["key"]).try_into().unwrap();
    let nonce: [u8; 12] = bytes(&case.input["nonce"]).try_into().unwrap();
    let blob = backup.encrypt(&key, nonce);
    assert_eq!(case.output["blob_len"], blob.len());
    assert_eq!(case.output["padded_len"], blob.len() - 12 - 16);
    if let Some(expected) = case.output["blob"].as_str() {
        assert_eq!(hex::encode(&blob), expected);
    }
    let hex_blob = hex::encode(&blob);
    assert!(hex_blob.starts_with(text(&case.output["blob_head"])));
    assert!(hex_blob.ends_with(text(&case.output["blob_tag"])));
    assert_eq!(sha256::Hash::hash(&blob).to_string(), text(&case.output["blob_sha256"]));
    assert_eq!(ClientBackup::decrypt(&blob, &key), Ok(backup));
}
