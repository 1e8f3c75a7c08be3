//! What guardians say to each other beside the broadcast: setup, signatures, news.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_guardian::{node, setup};

fuzz_target!(|bytes: &[u8]| {
    setup::fuzzing::message(bytes);
    node::fuzzing::frame(bytes);
});
