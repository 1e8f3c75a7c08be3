//! Backups of wallets, as guardians and wallets receive them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moneta_core::{BackupSnapshot, ClientBackup, SignedBackupRequest};
use moneta_fuzz::{decodes_stably, reads_json_stably};

fuzz_target!(|bytes: &[u8]| {
    decodes_stably::<ClientBackup>(bytes);
    reads_json_stably::<SignedBackupRequest>(bytes);
    reads_json_stably::<BackupSnapshot>(bytes);
});
