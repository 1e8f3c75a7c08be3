#![allow(clippy::unwrap_used)]

use bitcoin::secp256k1::Secp256k1;

use super::*;

fn key(byte: u8) -> Keypair {
    Keypair::from_seckey_slice(&Secp256k1::new(), &[byte; 32]).unwrap()
}

fn url(text: &str) -> ApiUrl {
    text.parse().unwrap()
}

fn announcement(host: &str, nonce: u64) -> SignedApiAnnouncement {
    ApiAnnouncement { api_url: url(&format!("wss://{host}/")), nonce }.sign(&key(1))
}

fn metadata(host: &str, timestamp_secs: u64) -> SignedGuardianMetadata {
    let api_urls = vec![url(&format!("wss://{host}/"))];
    let pkarr_id_z32 = "yryt".to_owned();
    GuardianMetadata { api_urls, pkarr_id_z32, timestamp_secs, iroh_next_endpoint: None }
        .sign(&key(1))
}

#[test]
fn announcement_is_stored_only_if_newer() {
    let owner = key(1).public_key();
    let stored = announcement("a.example", 3);
    let check = |new: SignedApiAnnouncement| new.check_submission(&owner, Some(&stored));
    assert_eq!(announcement("a.example", 0).check_submission(&owner, None), Ok(Submission::Store));
    assert_eq!(check(announcement("b.example", 4)), Ok(Submission::Store));
    assert_eq!(check(stored.clone()), Ok(Submission::Known));
    assert_eq!(check(announcement("b.example", 3)), Err(AnnouncementError::Outdated));
    assert_eq!(check(announcement("a.example", 2)), Err(AnnouncementError::Outdated));
}

#[test]
fn announcement_of_another_guardian_is_refused() {
    let other = key(2).public_key();
    let refused = announcement("a.example", 1).check_submission(&other, None);
    assert_eq!(refused, Err(AnnouncementError::Signature));
}

#[test]
fn metadata_is_stored_only_if_newer() {
    let owner = key(1).public_key();
    let stored = metadata("a.example", 1000);
    let check = |new: SignedGuardianMetadata| new.check_submission(&owner, 1000, Some(&stored));
    assert_eq!(check(metadata("b.example", 1001)), Ok(Submission::Store));
    assert_eq!(check(stored.clone()), Ok(Submission::Known));
    assert_eq!(check(metadata("b.example", 1000)), Err(MetadataError::NotNewer));
    assert_eq!(check(metadata("b.example", 4600)), Ok(Submission::Store));
    assert_eq!(check(metadata("b.example", 4601)), Err(MetadataError::Future));
    let other = key(2).public_key();
    assert_eq!(stored.check_submission(&other, 1000, None), Err(MetadataError::Signature));
}

#[test]
fn metadata_overrides_announcement_and_announcement_overrides_config() {
    let configured = url("wss://config.example/");
    let announced = announcement("announced.example", 1).api_announcement;
    let described = metadata("described.example", 1).metadata().clone();
    let without_url = GuardianMetadata { api_urls: Vec::new(), ..described.clone() };
    let current = |announced, metadata| current_url(&configured, announced, metadata).to_string();
    assert_eq!(current(None, None), "wss://config.example/");
    assert_eq!(current(Some(&announced), None), "wss://announced.example/");
    assert_eq!(current(Some(&announced), Some(&without_url)), "wss://announced.example/");
    assert_eq!(current(Some(&announced), Some(&described)), "wss://described.example/");
}
