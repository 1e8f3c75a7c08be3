//! Setup codes, which guardians paste from other people.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::PeerSetupCode;
use moneta_fuzz::{decodes_stably, reads_stably};

fuzz_target!(|bytes: &[u8]| {
    decodes_stably::<PeerSetupCode>(bytes);
    reads_stably::<PeerSetupCode>(bytes);
});
