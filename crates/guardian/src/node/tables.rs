//! The node's own tables in the guardian's store: what is not ordered by consensus.

use bitcoin::secp256k1::PublicKey;
use moneta_core::{
    BackupSnapshot, PeerId, SessionIndex, SignedApiAnnouncement, SignedGuardianMetadata,
};
use moneta_store::Table;

/// The newest announcement of each guardian.
pub(super) const ANNOUNCEMENTS: Table<PeerId, SignedApiAnnouncement> = Table::new(0x40);
/// The newest metadata of each guardian.
pub(super) const METADATA: Table<PeerId, SignedGuardianMetadata> = Table::new(0x41);
/// Bytes of all client backups together.
pub(super) const BACKUP_BYTES: Table<(), u64> = Table::new(0x43);
/// Whose database this is, as text; written at the first start and compared ever after.
pub(super) const OWNER: Table<(), String> = Table::new(0x44);
/// How rows are laid out: a [`LAYOUT_VERSION`]. Written with [`OWNER`] and compared ever after.
pub(super) const LAYOUT: Table<(), u16> = Table::new(0x46);
/// Counts up when a build lays out rows of a guardian in a way that others would misread.
pub(super) const LAYOUT_VERSION: u16 = 1;
/// The sessions before this one, in some of which a former self of this guardian may have spoken;
/// `u64::MAX` while it is in doubt. Absent if there was no former self.
pub(super) const SILENT_BEFORE: Table<(), SessionIndex> = Table::new(0x45);
/// Client backups, one per client key.
pub(super) const BACKUPS: Table<PublicKey, BackupSnapshot> = Table::new(0x42);
