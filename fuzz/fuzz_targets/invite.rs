//! Invite codes, in both text forms and inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::InviteCode;
use moneta_fuzz::{decodes_totally, reads_totally};

fuzz_target!(|bytes: &[u8]| {
    decodes_totally::<InviteCode>(bytes);
    reads_totally::<InviteCode>(bytes);
});
