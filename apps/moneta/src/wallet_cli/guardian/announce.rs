//! `moneta guardian announce`.
//!
//! Signs both forms of the statement: current wallets follow the metadata, older ones the
//! announcement (docs/protocol/guardian.md, section 5).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use moneta_core::announcement::{GuardianMetadata, SignedApiAnnouncement, SignedGuardianMetadata};
use moneta_core::api::endpoint;
use moneta_core::{ApiUrl, PeerId};
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::Admin;
use crate::wallet_cli::failure::Failure;
use crate::wallet_cli::screen::{Report, Style};

#[derive(Debug, Serialize)]
struct Announced {
    peer_id: PeerId,
    api_url: String,
    nonce: u64,
}

impl Report for Announced {
    fn text(&self, style: Style) -> String {
        let (peer, url) = (self.peer_id, style.good(&self.api_url));
        format!(
            "Guardian {peer} announced {url}. Wallets learn it within an hour; keep the old \
                 address working until then."
        )
    }
}

/// Runs the command.
pub(super) async fn run(admin: &Admin<'_>, new_url: ApiUrl) -> Result<(), Failure> {
    if !matches!(new_url.as_url().scheme(), "ws" | "wss") {
        return Err(Failure::refused(format!("{new_url} is no ws:// or wss:// address"))
            .hint("announce the address at which wallets reach the guardian's API"));
    }
    let signed: SignedApiAnnouncement =
        admin.call(endpoint::SIGN_API_ANNOUNCEMENT, json!(new_url)).await?;
    let known: BTreeMap<PeerId, SignedApiAnnouncement> =
        admin.call(endpoint::API_ANNOUNCEMENTS, Value::Null).await?;
    let own = known.iter().find(|(_, other)| other.signature == signed.signature);
    let (peer_id, _) = own.ok_or_else(|| {
        Failure::broken("the guardian signed the address but does not publish it")
            .hint("look into its log, then repeat the command")
    })?;
    let metadata: BTreeMap<PeerId, SignedGuardianMetadata> =
        admin.call(endpoint::GUARDIAN_METADATA, Value::Null).await?;
    let before = metadata.get(peer_id).map(SignedGuardianMetadata::metadata);
    let next = next_metadata(before, new_url.clone(), now_secs());
    let _: SignedGuardianMetadata =
        admin.call(endpoint::SIGN_GUARDIAN_METADATA, json!(next)).await?;
    let nonce = signed.api_announcement.nonce;
    let (peer_id, api_url) = (*peer_id, new_url.to_string());
    admin.context.screen.report(&Announced { peer_id, api_url, nonce })
}

/// Metadata with the new address, newer than what there was.
fn next_metadata(
    before: Option<&GuardianMetadata>,
    new_url: ApiUrl,
    now_secs: u64,
) -> GuardianMetadata {
    let newer = before.map_or(0, |before| before.timestamp_secs.saturating_add(1));
    GuardianMetadata {
        api_urls: vec![new_url],
        pkarr_id_z32: before.map(|before| before.pkarr_id_z32.clone()).unwrap_or_default(),
        timestamp_secs: now_secs.max(newer),
        iroh_next_endpoint: None,
    }
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn metadata_moves_the_address_and_is_newer_even_if_the_clock_went_back() {
        let url = |text: &str| text.parse::<ApiUrl>().unwrap();
        let before = GuardianMetadata {
            api_urls: vec![url("wss://old.example")],
            pkarr_id_z32: "yryt".to_owned(),
            timestamp_secs: 1000,
            iroh_next_endpoint: None,
        };
        let next = next_metadata(Some(&before), url("wss://new.example"), 900);
        assert_eq!((next.timestamp_secs, next.pkarr_id_z32.as_str()), (1001, "yryt"));
        assert_eq!(next.api_urls, [url("wss://new.example")]);
        assert_eq!(next_metadata(None, url("wss://a.example"), 900).timestamp_secs, 900);
    }

    #[test]
    fn report_has_the_agreed_names() {
        let report = Announced { peer_id: PeerId::new(2), api_url: "wss://a/".into(), nonce: 1 };
        assert_eq!(json!(report), json!({"peer_id": 2, "api_url": "wss://a/", "nonce": 1}));
    }
}
