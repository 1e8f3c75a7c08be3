//! Reads a vector file and runs its cases by operation.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use moneta_core::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One case of a vector file.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) op: String,
    #[serde(rename = "in")]
    pub(crate) input: Value,
    pub(crate) out: Value,
}

/// What became of a case that did not fail.
pub(crate) enum Done {
    Ran,
    Skipped(&'static str),
}

#[derive(serde::Deserialize)]
struct File {
    cases: Vec<Case>,
}

impl Case {
    /// The `type` of the input, or the empty string.
    pub(crate) fn kind(&self) -> &str {
        self.input["type"].as_str().unwrap_or_default()
    }

    /// Whether the reference accepts the input.
    pub(crate) fn is_accepted(&self) -> bool {
        let refused = self.out["refused"] == true || self.out["accepted"] == false;
        !refused
    }

    /// Fails: the test does not know what to do with this.
    pub(crate) fn unknown(&self) -> ! {
        panic!("nobody runs op {:?} of type {:?}", self.op, self.kind())
    }
}

/// Runs all cases of `file` and prints how many ran and why others did not.
pub(crate) fn run_file(file: &str, run: impl Fn(&Case) -> Done) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/vectors").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let cases = serde_json::from_str::<File>(&text).unwrap().cases;
    assert!(!cases.is_empty());
    let (mut ran, mut failed) = (0, Vec::new());
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        match catch_unwind(AssertUnwindSafe(|| run(case))) {
            Ok(Done::Ran) => ran += 1,
            Ok(Done::Skipped(why)) => *skipped.entry(why).or_default() += 1,
            Err(_) => failed.push(&case.name),
        }
    }
    println!("{file}: {ran} of {} cases ran", cases.len());
    for (why, count) in skipped {
        println!("{file}: {count} skipped: {why}");
    }
    assert!(failed.is_empty(), "{file}: failed: {failed:#?}");
}

/// The bytes of a hex field.
#[track_caller]
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a hex field")).unwrap()
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
