//! Setup codes, which guardians paste from other people.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::PeerSetupCode;
use moneta_fuzz::{decodes_totally, reads_totally};

fuzz_target!(|bytes: &[u8]| {
    decodes_totally::<PeerSetupCode>(bytes);
    reads_totally::<PeerSetupCode>(bytes);
});
