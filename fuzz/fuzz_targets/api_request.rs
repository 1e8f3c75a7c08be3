//! Requests and errors of the API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{ApiError, ApiRequest};
use moneta_fuzz::reads_json_stably;

fuzz_target!(|bytes: &[u8]| {
    reads_json_stably::<ApiRequest>(bytes);
    reads_json_stably::<ApiError>(bytes);
});
