//! Signed statements of guardians about their addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{SignedApiAnnouncement, SignedGuardianMetadata};
use moneta_fuzz::{decodes_totally, reads_json_stably};

fuzz_target!(|bytes: &[u8]| {
    decodes_totally::<SignedApiAnnouncement>(bytes);
    reads_json_stably::<SignedApiAnnouncement>(bytes);
    reads_json_stably::<SignedGuardianMetadata>(bytes);
});
