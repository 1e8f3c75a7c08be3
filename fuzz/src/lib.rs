//! What every fuzz target checks.
//!
//! A decoder meets bytes of strangers. It must never panic, never reserve memory it was not sent bytes
//! for, and never accept two spellings of one value where bytes are hashed or signed. The first two show
//! as a crash or as the memory limit of the fuzzing engine, the third is checked here.

use std::{fmt::Display, str::FromStr};

use moneta_core::{Decode, Encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Bytes that decode must be the bytes that are written: what was hashed is what is stored.
pub fn decodes_canonically<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes, "accepted, but written differently");
    }
}

/// For values with padding, which is dropped when written: writing again changes nothing more.
pub fn decodes_stably<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let written = value.to_bytes();
        let again = T::from_bytes(&written).expect("own bytes are accepted");
        assert_eq!(again.to_bytes(), written, "writing is not stable");
    }
}

/// For values with URLs. What is written is their display form, and that of an odd URL need not be a URL
/// again (docs/protocol/core.md section 1.5), so nothing can be asked but that both ways come to an end.
pub fn decodes_totally<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let _ = T::from_bytes(&value.to_bytes());
    }
}

/// The same for texts: read, print, read again.
pub fn reads_totally<T: FromStr + Display>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        let _ = value.to_string().parse::<T>();
    }
}

/// JSON that is read must be read again as the same value from what is written.
///
/// Fractions are left out: reading one may miss its last bit, and no message of the protocol has any.
pub fn reads_json_stably<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_string(&value).expect("what was read can be written");
        let again: T = serde_json::from_str(&written).expect("own JSON is accepted");
        let [first, second] = [&value, &again].map(|value| {
            let mut value = serde_json::to_value(value).expect("what was read can be written");
            drop_fractions(&mut value);
            value
        });
        assert_eq!(first, second, "writing JSON is not stable");
    }
}

fn drop_fractions(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::Null,
        Value::Array(values) => values.iter_mut().for_each(drop_fractions),
        Value::Object(members) => members.values_mut().for_each(drop_fractions),
        _ => {}
    }
}
