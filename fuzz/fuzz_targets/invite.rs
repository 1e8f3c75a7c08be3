//! Invite codes, in both text forms and inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::InviteCode;
use moneta_fuzz::{decodes_stably, reads_stably};

fuzz_target!(|bytes: &[u8]| {
    decodes_stably::<InviteCode>(bytes);
    reads_stably::<InviteCode>(bytes);
});
