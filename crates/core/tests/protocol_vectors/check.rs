//! Claims that the cases of these files have in common.

use std::fmt::Debug;

use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use moneta_core::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::vectors::{Case, bytes};

/// Whether the reference accepts the input.
pub(crate) fn is_accepted(case: &Case) -> bool {
    !(case.refused() || case.output["accepted"] == false)
}

/// The text of a field.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a text field")
}

/// The value whose encoding is the hex field; it must encode to the same again.
#[track_caller]
pub(crate) fn round_trip<T: Encode + Decode>(hex: &Value) -> T {
    let value = T::from_bytes(&bytes(hex)).unwrap();
    assert_eq!(hex::encode(value.to_bytes()), text(hex), "re-encoding");
    value
}

/// The value with this JSON; it must have the same JSON again.
#[track_caller]
pub(crate) fn json_round_trip<T: Serialize + DeserializeOwned>(json: &Value) -> T {
    let value: T = serde_json::from_value(json.clone()).unwrap();
    assert_json(&value, json);
    value
}

/// `value` has this JSON.
#[track_caller]
pub(crate) fn assert_json<T: Serialize>(value: &T, json: &Value) {
    assert_eq!(&serde_json::to_value(value).unwrap(), json, "JSON");
}

/// `value` encodes to the hex field and back.
#[track_caller]
pub(crate) fn assert_codec<T: Encode + Decode + PartialEq + Debug>(value: &T, hex: &Value) {
    assert_eq!(hex::encode(value.to_bytes()), text(hex), "encoding");
    assert_eq!(&T::from_bytes(&bytes(hex)).unwrap(), value, "decoding");
}

/// The key pair whose secret key is the number `n`.
pub(crate) fn numbered_key(n: u64) -> Keypair {
    let mut secret = [0; 32];
    secret[24..].copy_from_slice(&n.to_be_bytes());
    let secret = SecretKey::from_slice(&secret).unwrap();
    Keypair::from_secret_key(&Secp256k1::new(), &secret)
}
