//! Client configurations, as bytes and as the JSON a guardian answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::ClientConfig;
use moneta_fuzz::{decodes_totally, reads_json_stably};

fuzz_target!(|bytes: &[u8]| {
    decodes_totally::<ClientConfig>(bytes);
    reads_json_stably::<ClientConfig>(bytes);
});
