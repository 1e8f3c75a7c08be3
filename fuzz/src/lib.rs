//! What every fuzz target checks.
//!
//! A decoder meets bytes of strangers. It must never panic, never reserve memory it was not sent bytes
//! for, and never accept two spellings of one value where bytes are hashed or signed. The first two show
//! as a crash or as the memory limit of the fuzzing engine, the third is checked here.

use std::{fmt::Display, str::FromStr};

use moneta_core::{Decode, Encode};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes that decode must be the bytes that are written: what was hashed is what is stored.
pub fn decodes_canonically<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes, "accepted, but written differently");
    }
}

/// For values that hold URLs or padding, which are shortened when written: writing again changes
/// nothing more.
pub fn decodes_stably<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let written = value.to_bytes();
        let again =
            T::from_bytes(&written).unwrap_or_else(|error| panic!("own bytes refused: {error}"));
        assert_eq!(again.to_bytes(), written, "writing is not stable");
    }
}

/// A text that is read must be read again as the same value from what is printed.
pub fn reads_stably<T: FromStr + Display>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let Ok(again) = printed.parse::<T>() else { panic!("own text refused: {printed}") };
        assert_eq!(again.to_string(), printed, "printing is not stable");
    }
}

/// JSON that is read must be read again as the same value from what is written.
pub fn reads_json_stably<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_string(&value).expect("what was read can be written");
        let again: T = serde_json::from_str(&written).expect("own JSON is accepted");
        let twice = serde_json::to_string(&again).expect("what was read can be written");
        assert_eq!(twice, written, "writing JSON is not stable");
    }
}
