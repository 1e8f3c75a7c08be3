//! The node's own tables in the guardian's store: what is not ordered by consensus.

use bitcoin::secp256k1::PublicKey;
use moneta_core::{BackupSnapshot, PeerId, SignedApiAnnouncement, SignedGuardianMetadata};
use moneta_store::Table;

/// The newest announcement of each guardian.
pub(super) const ANNOUNCEMENTS: Table<PeerId, SignedApiAnnouncement> = Table::new(0x40);
/// The newest metadata of each guardian.
pub(super) const METADATA: Table<PeerId, SignedGuardianMetadata> = Table::new(0x41);
/// Client backups, one per client key.
pub(super) const BACKUPS: Table<PublicKey, BackupSnapshot> = Table::new(0x42);
