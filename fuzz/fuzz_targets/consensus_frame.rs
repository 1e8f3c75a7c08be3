//! Frames of the atomic broadcast, and what its units carry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_consensus::fuzzing::{batch, frame};

fuzz_target!(|bytes: &[u8]| {
    frame(bytes);
    batch(bytes);
});
