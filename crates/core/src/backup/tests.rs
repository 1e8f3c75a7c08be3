#![allow(clippy::unwrap_used)]

use bitcoin::secp256k1::Secp256k1;

use super::*;

const NOW: u64 = 1_700_000_000;

fn key(byte: u8) -> Keypair {
    Keypair::from_seckey_slice(&Secp256k1::new(), &[byte; 32]).unwrap()
}

fn at(secs: u64, nanos: u32) -> Timestamp {
    Timestamp::from_unix(Duration::new(secs, nanos)).unwrap()
}

fn request(payload_len: usize, timestamp: Timestamp) -> SignedBackupRequest {
    let payload = vec![0; payload_len];
    BackupRequest { id: key(1).public_key(), payload, timestamp }.sign(&key(1))
}

#[test]
fn upload_is_refused_in_the_order_of_the_page() {
    let now = at(NOW, 0);
    let late = at(NOW + 3600, 1);
    // Each of these breaks all later rules too.
    let mut forged = request(MAX_BACKUP_BYTES + 1, late);
    forged.request.payload[0] = 1;
    assert_eq!(forged.check(Some(late), now), Err(BackupRefusal::Signature));
    let future = request(MAX_BACKUP_BYTES + 1, late);
    assert_eq!(future.check(Some(late), now), Err(BackupRefusal::Future));
    let large = request(MAX_BACKUP_BYTES + 1, now);
    assert_eq!(large.check(Some(now), now), Err(BackupRefusal::TooLarge));
    let again = request(1, now);
    assert_eq!(again.check(Some(now), now), Err(BackupRefusal::NotNewer));
}

#[test]
fn upload_at_the_limits_is_accepted() {
    let now = at(NOW, 0);
    let limit = at(NOW + 3600, 0);
    assert_eq!(request(MAX_BACKUP_BYTES, limit).check(Some(at(NOW + 3599, 999)), now), Ok(()));
    assert_eq!(request(0, at(0, 0)).check(None, now), Ok(()));
}

#[test]
fn newest_readable_backup_is_used() {
    let backup = |session_count| ClientBackup { session_count, ..ClientBackup::default() };
    let snapshot = |count, key: &[u8; 32]| BackupSnapshot {
        timestamp: at(1, 0),
        data: backup(count).encrypt(key, [3; 12]),
    };
    let own = [1; 32];
    let rubbish = BackupSnapshot { timestamp: at(2, 0), data: vec![1, 2] };
    let answers = [snapshot(5, &own), snapshot(9, &own), snapshot(99, &[2; 32]), rubbish.clone()];
    assert_eq!(ClientBackup::newest(&answers, &own), Some(backup(9)));
    assert_eq!(ClientBackup::newest(&[rubbish], &own), None);
}

#[test]
fn damaged_blob_does_not_decrypt() {
    let mut blob = ClientBackup::default().encrypt(&[1; 32], [0; 12]);
    *blob.last_mut().unwrap() ^= 1;
    let damaged = ClientBackup::decrypt(&blob, &[1; 32]);
    assert_eq!(damaged, Err(BackupReadError::Decryption));
    assert_eq!(ClientBackup::decrypt(&[], &[1; 32]), Err(BackupReadError::Decryption));
}

#[test]
fn entry_that_is_too_large_is_replaced_by_the_previous_one() {
    let instance = ModuleInstanceId::new(3);
    // One byte of instance and three of length stand in front of the bytes.
    let entry = |len: usize| BackupEnvelope::from_raw(instance, vec![0; len - 4]);
    let mut previous = ClientBackup::default();
    assert!(previous.insert_module(entry(MODULE_BACKUP_LIMIT_BYTES - 1), None));
    let too_large = entry(MODULE_BACKUP_LIMIT_BYTES);
    let mut next = ClientBackup::default();
    assert!(!next.insert_module(too_large.clone(), Some(&previous)));
    assert_eq!(next.modules, previous.modules);
    let mut first = ClientBackup::default();
    assert!(!first.insert_module(too_large, None));
    assert!(first.modules.is_empty());
}
