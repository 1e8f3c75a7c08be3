//! What a wallet keeps about a federation, in the same store as its money.
//!
//! | Prefix | Key | Value |
//! |---|---|---|
//! | 0x10 | - | membership |
//! | 0x11 | - | the config that becomes active at the next start |
//! | 0x12 | - | signed addresses |
//! | 0x13 | guardian | its version summary, JSON text |
//! | 0x14 | - | the chain id, as answered |
//! | 0x15 | - | fields published on the web, and when they were fetched |

use std::collections::BTreeMap;

use moneta_core::config::ClientConfig;
use moneta_core::id::PeerId;
use moneta_core::invite::InviteCode;
use moneta_core::version::VersionSummary;
use moneta_core::{Decode, Encode};
use moneta_module::client::Timestamp;
use moneta_store::{Order, Read, StoreError, Table};
use serde_json::Value;

use crate::addresses::SignedAddresses;

pub(super) const MEMBERSHIP: Table<(), Membership> = Table::new(0x10);
pub(super) const PENDING_CONFIG: Table<(), ClientConfig> = Table::new(0x11);
pub(super) const ADDRESSES: Table<(), SignedAddresses> = Table::new(0x12);
pub(super) const VERSIONS: Table<PeerId, String> = Table::new(0x13);
pub(super) const CHAIN_ID: Table<(), String> = Table::new(0x14);
pub(super) const OVERLAY: Table<(), Overlay> = Table::new(0x15);

/// That and how a wallet joined. Written last of all when joining: a store without it was never
/// joined.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Membership {
    pub(super) config: ClientConfig,
    pub(super) invite: InviteCode,
    /// Whether the words may have been used before.
    pub(super) recovering: bool,
    /// Whether the secrets follow from the words the other way.
    pub(super) doubled: bool,
    /// Tells whether a store is opened with the right words.
    pub(super) check: [u8; 8],
}

/// Fields of a federation that were fetched from the web.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Overlay {
    /// A JSON object.
    text: String,
    pub(super) fetched_ms: u64,
}

impl Overlay {
    pub(super) fn new(fields: &BTreeMap<String, Value>, fetched: Timestamp) -> Self {
        let text = serde_json::to_string(fields).expect("JSON values with texts as keys serialize");
        Self { text, fetched_ms: fetched.0 }
    }

    pub(super) fn into_fields(self) -> BTreeMap<String, Value> {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// The latest known version report of each guardian.
pub(super) fn versions(view: &dyn Read) -> Result<BTreeMap<PeerId, VersionSummary>, StoreError> {
    let mut known = BTreeMap::new();
    for row in VERSIONS.scan(view, Order::Ascending) {
        let (peer, text) = row?;
        // Only what parsed was stored; a report of a later release that no longer does is asked
        // for again.
        known.extend(serde_json::from_str(&text).ok().map(|summary| (peer, summary)));
    }
    Ok(known)
}
