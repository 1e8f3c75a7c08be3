#![allow(clippy::unwrap_used)]

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::{Keypair, SecretKey};
use serde_json::{Value, json};

use super::*;
use crate::tbs::{BlindingKey, blind, hash_to_message_v1, hash_to_message_v2};
use crate::vectors::{Cases, array, bytes, text, u64_of};

/// docs/protocol/vectors/secrets.json
#[test]
fn vectors_of_the_reference() {
    Cases::load("secrets.json").run(|op, input, out| {
        match op {
            "derive" => check_derive(input, out),
            "mnemonic-chain" => check_chain(input, out),
            "plain-root" => {
                assert_eq!(*seed_root(&array(&input["secret"])).expose_prk(), array(&out["g"]));
            }
            "guardian-seed" => check_guardian_seed(input, out),
            "mintv2-note-keys" => check_note_keys(input, out),
            "walletv2-keys" => {
                let module = module_secret(input);
                for (index, key) in (0..).zip(out["keys"].as_array().unwrap()) {
                    assert_eq!(public_hex(&module.child(index).secp_keypair()), text(key));
                }
            }
            "codec" => return Some("module backups: encoded by the modules and the core"),
            "client-backup" => return Some("client backups: encoded and encrypted by the core"),
            "mint-note-keys" => check_first_generation_note_keys(input, out),
            "wallet-keys" => return Some("first generation of the wallet"),
            "lnv2-static-keys" | "ln-keys" => return Some("Lightning"),
            other => panic!("unknown op {other}"),
        }
        None
    });
}

fn check_derive(input: &Value, out: &Value) {
    let mut secret = DerivableSecret::root(&bytes(&input["ikm"]), &bytes(&input["salt"]));
    for step in input["path"].as_array().unwrap() {
        let (name, value) = step.as_object().unwrap().iter().next().unwrap();
        secret = match name.as_str() {
            "child" => secret.child(u64_of(value)),
            "tweak" => secret.tweak(&bytes(value)),
            "federation" => secret.federation(&array(value)),
            other => panic!("unknown step {other}"),
        };
    }
    assert_eq!(*secret.expose_prk(), array(&out["prk"]));
    assert_eq!(secret.level(), u64_of(&out["level"]));
    assert_eq!(encoded(&secret), bytes(&out["encoded"]));
    assert_eq!(*secret.bls_scalar().to_bytes(), array(&out["bls_scalar_le"]));
    assert_eq!(*secret.chacha_key(), array(&out["chacha20_poly1305_key"]));
    assert_eq!(*secret.raw::<8>(), array(&out["raw_8"]));
    assert_eq!(*secret.raw::<32>(), array(&out["raw_32"]));
    let keypair = secret.secp_keypair();
    assert_eq!(keypair.secret_bytes(), array(&out["secp_secret"]));
    assert_eq!(public_hex(&keypair), text(&out["secp_public"]));
}

fn check_chain(input: &Value, out: &Value) {
    let federation_id: [u8; 32] = array(&input["federation_id"]);
    let words = bip39::Mnemonic::parse(text(&input["words"])).unwrap();
    let entropy = words.to_entropy();
    assert_eq!(entropy, bytes(&out["entropy"]));
    let stored = [&[entropy.len() as u8][..], &entropy].concat();
    assert_eq!(stored, bytes(&out["stored_entropy_encoding"]));
    let seed = words.to_seed("");
    assert_eq!(seed, array(&out["seed"]));
    let g = seed_root(&seed);
    assert_eq!(*g.expose_prk(), array(&out["g"]));
    assert_eq!(encoded(&g), bytes(&out["g_encoded"]));

    let secrets = FederationSecrets::from_seed(&seed, &federation_id);
    assert_eq!(*secrets.pre().expose_prk(), array(&out["pre"]));
    assert_eq!(secrets.pre().level(), u64_of(&out["pre_level"]));
    assert_eq!(encoded(secrets.pre()), bytes(&out["federation_secret_hex"]));
    assert_eq!(*secrets.client_root().expose_prk(), array(&out["client_root"]));
    assert_eq!(secrets.client_root().level(), u64_of(&out["client_root_level"]));
    assert_eq!(secrets.check_value(), array(&out["secret_check"]));
    for module in out["modules"].as_array().unwrap() {
        let secret = secrets.module(u64_of(&module["instance"]).try_into().unwrap());
        assert_eq!(*secret.expose_prk(), array(&module["prk"]));
        assert_eq!(secret.level(), u64_of(&module["level"]));
    }
    assert_eq!(*secrets.module(300).expose_prk(), array(&out["module_300"]));

    let backup = secrets.backup();
    assert_eq!(*backup.expose_prk(), array(&out["backup_prk"]));
    assert_eq!(*backup.chacha_key(), array(&out["backup_key"]));
    assert_eq!(backup.secp_keypair().secret_bytes(), array(&out["backup_signing_secret"]));
    assert_eq!(public_hex(&backup.secp_keypair()), text(&out["backup_id"]));

    let double = FederationSecrets::from_seed_double_derived(&seed, &federation_id);
    assert_eq!(*double.pre().expose_prk(), array(&out["double_derived_pre"]));
    assert_eq!(*double.client_root().expose_prk(), array(&out["double_derived_client_root"]));

    let exported = DerivableSecret::from_parts(secrets.pre().level(), *secrets.pre().expose_prk());
    assert_eq!(FederationSecrets::from_pre(exported, &federation_id), secrets);
}

fn check_guardian_seed(input: &Value, out: &Value) {
    let key = match text(&input["salt"]) {
        "fedimint-pkarr" => GuardianKey::Pkarr,
        "fedimint-iroh-next" => GuardianKey::IrohNext,
        other => panic!("unknown salt {other}"),
    };
    let secret = SecretKey::from_slice(&bytes(&input["broadcast_secret"])).unwrap();
    assert_eq!(*key.ed25519_seed(&secret), array(&out["ed25519_seed"]));
}

/// docs/protocol/mint.md, section 3.8.
fn check_note_keys(input: &Value, out: &Value) {
    let module = module_secret(input);
    let filter = module.raw::<32>();
    assert_eq!(*filter, array(&out["filter"]));
    let tweak: [u8; 16] = array(&input["tweak"]);
    let hash = sha256::Hash::hash(&[&tweak[..], &*filter].concat());
    assert_eq!(json!(hash.as_byte_array().starts_with(&[0, 0])), out["tweak_valid"]);
    let note = module.child(u64_of(&input["denomination"])).tweak(&tweak);
    let spend = note.secp_keypair();
    assert_eq!(spend.secret_bytes(), array(&out["spend_secret"]));
    assert_eq!(public_hex(&spend), text(&out["nonce"]));
    let blinding = BlindingKey::from(note.bls_scalar());
    assert_eq!(*blinding.to_bytes(), array(&out["blinding_le"]));
    let message = hash_to_message_v2(&spend.public_key().serialize());
    assert_eq!(blind(&message, &blinding).to_bytes(), array(&out["blinded_message"]));
}

/// docs/protocol/mint.md, section 4.7.
fn check_first_generation_note_keys(input: &Value, out: &Value) {
    let (index, tier) = (u64_of(&input["index"]), u64_of(&input["tier_msat"]));
    let note = module_secret(input).child(0).child(index).child(tier);
    assert_eq!(*note.expose_prk(), array(&out["note_secret_prk"]));
    let spend = note.child(0).secp_keypair();
    assert_eq!(spend.secret_bytes(), array(&out["spend_secret"]));
    assert_eq!(public_hex(&spend), text(&out["nonce"]));
    let blinding = BlindingKey::from(note.child(1).bls_scalar());
    assert_eq!(*blinding.to_bytes(), array(&out["blinding_le"]));
    let message = hash_to_message_v1(&spend.public_key().serialize());
    assert_eq!(blind(&message, &blinding).to_bytes(), array(&out["blind_nonce"]));
}

fn module_secret(input: &Value) -> DerivableSecret {
    let seed = bip39::Mnemonic::parse(text(&input["words"])).unwrap().to_seed("");
    FederationSecrets::from_seed(&seed, &array(&input["federation_id"]))
        .module(u64_of(&input["instance"]).try_into().unwrap())
}

fn public_hex(keypair: &Keypair) -> String {
    hex::encode(keypair.public_key().serialize())
}

/// The written form: the level (below 253, thus one byte) and the secret.
fn encoded(secret: &DerivableSecret) -> Vec<u8> {
    let level = u8::try_from(secret.level()).unwrap();
    [&[level][..], secret.expose_prk()].concat()
}
