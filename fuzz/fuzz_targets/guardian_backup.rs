//! The archive from which a guardian is restored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_guardian::node::fuzzing::archive;

fuzz_target!(|bytes: &[u8]| archive(bytes));
