//! Runs the golden vectors of `docs/protocol/vectors/`, whole files at a time.
//!
//! A test names a file and a handler. The handler is given every case and must either run it (and
//! panic if a claim does not hold), skip it with a reason, or own up that it does not know it,
//! which fails the test: a vector is never passed over in silence.

// Each test binary uses its own part of this.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use moneta_core::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One case of a vector file.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Case {
    pub name: String,
    pub op: String,
    #[serde(rename = "in")]
    pub input: Value,
    #[serde(rename = "out")]
    pub output: Value,
}

/// What a handler did with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All its claims hold.
    Ran,
    /// It is knowingly left out.
    Skipped(&'static str),
    /// The handler has never heard of this operation or type.
    Unknown,
}

impl Case {
    /// `in.type`, or an empty string.
    pub fn kind(&self) -> &str {
        self.input["type"].as_str().unwrap_or_default()
    }

    pub fn refused(&self) -> bool {
        self.output["refused"] == Value::Bool(true)
    }

    pub fn in_str(&self, field: &str) -> &str {
        self.input[field].as_str().unwrap_or_else(|| panic!("no text in.{field}"))
    }

    pub fn out_str(&self, field: &str) -> &str {
        self.output[field].as_str().unwrap_or_else(|| panic!("no text out.{field}"))
    }

    pub fn in_hex(&self, field: &str) -> Vec<u8> {
        hex::decode(self.in_str(field)).unwrap()
    }

    pub fn out_hex(&self, field: &str) -> Vec<u8> {
        hex::decode(self.out_str(field)).unwrap()
    }

    /// `value` encodes to `out.hex` and is what `out.hex` decodes to.
    pub fn check_codec<T: Encode + Decode + PartialEq + Debug>(&self, value: &T) -> Outcome {
        assert_eq!(hex::encode(value.to_bytes()), self.out_str("hex"));
        assert_eq!(&T::from_bytes(&self.out_hex("hex")).unwrap(), value);
        Outcome::Ran
    }

    /// `out.hex` decodes and encodes to itself, for values that the case does not spell out.
    pub fn check_reencoding<T: Encode + Decode>(&self) -> Outcome {
        let value = T::from_bytes(&self.out_hex("hex")).unwrap();
        assert_eq!(hex::encode(value.to_bytes()), self.out_str("hex"));
        Outcome::Ran
    }

    /// `in.json` and `out.hex` stand for the same value, in all directions.
    pub fn check_codec_and_json<T>(&self) -> Outcome
    where
        T: Encode + Decode + Serialize + DeserializeOwned,
    {
        let from_json: T = serde_json::from_value(self.input["json"].clone()).unwrap();
        assert_eq!(hex::encode(from_json.to_bytes()), self.out_str("hex"));
        let from_hex = T::from_bytes(&self.out_hex("hex")).unwrap();
        assert_eq!(serde_json::to_value(&from_hex).unwrap(), self.input["json"]);
        // Also through text, where numbers and strings take other paths than through `Value`.
        let text = serde_json::to_string(&from_hex).unwrap();
        let from_text: T = serde_json::from_str(&text).unwrap();
        assert_eq!(from_text.to_bytes(), from_json.to_bytes());
        Outcome::Ran
    }

    /// `in.hex` is refused, or accepted and then encodes to `out.reencoded` or itself.
    pub fn check_decode<T: Encode + Decode>(&self) -> Outcome {
        let decoded = T::from_bytes(&self.in_hex("hex"));
        if self.refused() {
            assert!(decoded.is_err(), "it must be refused");
            return Outcome::Ran;
        }
        let expected = self.output["reencoded"].as_str().unwrap_or(self.in_str("hex"));
        assert_eq!(hex::encode(decoded.unwrap().to_bytes()), expected);
        Outcome::Ran
    }

    /// `in.json` is refused, or accepted.
    pub fn check_json_decode<T: DeserializeOwned>(&self) -> Outcome {
        let by_value = serde_json::from_value::<T>(self.input["json"].clone());
        let by_text = serde_json::from_str::<T>(&self.input["json"].to_string());
        assert_eq!((by_value.is_err(), by_text.is_err()), (self.refused(), self.refused()));
        Outcome::Ran
    }
}

/// Reads all cases of `file`.
pub fn load(file: &str) -> Vec<Case> {
    #[derive(serde::Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol/vectors");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    serde_json::from_str::<File>(&text).unwrap().cases
}

/// Runs every case of `file` and panics at the end if any failed or was unknown.
pub fn run(file: &str, handle: impl Fn(&Case) -> Outcome) {
    let mut ran = 0;
    let mut skipped = BTreeMap::<_, usize>::new();
    let mut failed = Vec::new();
    for case in load(file) {
        let label = format!("{} [{} {}]", case.name, case.op, case.kind());
        match catch_unwind(AssertUnwindSafe(|| handle(&case))) {
            Ok(Outcome::Ran) => ran += 1,
            Ok(Outcome::Skipped(reason)) => {
                *skipped.entry((case.op.clone(), case.kind().to_owned(), reason)).or_default() += 1;
            }
            Ok(Outcome::Unknown) => failed.push(format!("unknown: {label}")),
            Err(_) => failed.push(format!("failed: {label}")),
        }
    }
    println!("{file}: {ran} ran, {} skipped", skipped.values().sum::<usize>());
    for ((op, kind, reason), count) in skipped {
        println!("  skipped {count} x {op} {kind}: {reason}");
    }
    assert!(failed.is_empty(), "{file}:\n{}", failed.join("\n"));
    assert!(ran > 0, "{file} has no cases that ran");
}

/// A number that the vectors write as a number or as a string.
pub fn number<T: TryFrom<u64, Error: Debug>>(value: &Value) -> T {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    T::try_from(number.unwrap_or_else(|| panic!("no number: {value}"))).unwrap()
}

/// Bytes that the vectors write as hex.
pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
