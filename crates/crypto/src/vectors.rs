//! Reads the golden vectors of `docs/protocol/vectors` for the tests of this crate.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// The cases of one whole file.
pub(crate) struct Cases {
    file: String,
    cases: Vec<Value>,
}

impl Cases {
    pub(crate) fn load(file: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol/vectors");
        let text = std::fs::read_to_string(folder.join(file)).expect("vector file");
        let mut json: Value = serde_json::from_str(&text).expect("JSON");
        let Value::Array(cases) = json["cases"].take() else { panic!("{file}: no cases") };
        Self { file: file.to_owned(), cases }
    }

    /// Runs every case by op, input and expected output. The function panics on a mismatch or an
    /// unknown op, and returns a reason if a case is not for this crate.
    pub(crate) fn run(&self, check: impl Fn(&str, &Value, &Value) -> Option<&'static str>) {
        let mut ran = BTreeMap::<&str, u32>::new();
        let mut skipped = BTreeMap::<(&str, &str), u32>::new();
        for case in &self.cases {
            let op = case["op"].as_str().expect("op");
            println!("{}: {}", self.file, case["name"]);
            match check(op, &case["in"], &case["out"]) {
                None => *ran.entry(op).or_default() += 1,
                Some(reason) => *skipped.entry((op, reason)).or_default() += 1,
            }
        }
        println!(
            "{}: ran {} of {}: {ran:?}",
            self.file,
            ran.values().sum::<u32>(),
            self.cases.len()
        );
        println!("{}: skipped {skipped:?}", self.file);
    }
}

/// A text field.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// A field of plain hex.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hex")
}

/// A field of plain hex with a fixed length.
pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("length")
}

/// A number, written as number or as text.
pub(crate) fn u64_of(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| text(value).parse().expect("number"))
}

/// A value in its JSON form.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("value")
}
