//! Session outcomes, which clients and returning guardians replay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{SessionOutcome, SessionStatus, SessionStatusV2, SignedSessionOutcome};
use moneta_fuzz::decodes_canonically;

fuzz_target!(|bytes: &[u8]| {
    decodes_canonically::<SessionOutcome>(bytes);
    decodes_canonically::<SignedSessionOutcome>(bytes);
    decodes_canonically::<SessionStatus>(bytes);
    decodes_canonically::<SessionStatusV2>(bytes);
});
