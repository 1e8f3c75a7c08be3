//! Transactions and the answer to a submission.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{SubmissionOutcome, Transaction};
use moneta_fuzz::decodes_canonically;

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<Transaction>(bytes);
    decodes_canonically::<SubmissionOutcome>(bytes);
});
