//! The file in which a guardian keeps the units of a session, torn or damaged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_consensus::fuzzing::unit_file;

fuzz_target!(|bytes: &[u8]| unit_file(bytes));
