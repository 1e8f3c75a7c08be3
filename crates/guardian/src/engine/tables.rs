//! The engine's tables in the guardian's store.
//!
//! All of them hold what every guardian has alike, except [`ENDED`], whose entries live only until
//! the session they belong to is signed.

use std::collections::BTreeMap;

use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{AcceptedItem, Encode, ModuleInstanceId, PeerId, SessionIndex, TransactionId};
use moneta_store::Table;

/// Accepted items by session and position, for ever. Written once: what happens to a session later
/// is a row of its own in [`ENDED`] and [`SIGNED`], however long the session is.
pub(super) const ITEMS: Table<(SessionIndex, u64), AcceptedItem> = Table::new(0x01);

/// Accepted transactions, for ever, with the module instance of each output.
pub(super) const ACCEPTED: Table<TransactionId, Vec<ModuleInstanceId>> = Table::new(0x02);

/// Merkle roots of sessions that have ended and are not signed by a threshold yet. Written before
/// this guardian signs, so that it never signs two; their items do not change any more.
pub(super) const ENDED: Table<SessionIndex, [u8; 32]> = Table::new(0x03);

/// Signatures of signed sessions, for ever.
pub(super) const SIGNED: Table<SessionIndex, BTreeMap<PeerId, Signature>> = Table::new(0x04);

/// How many ordered units of each session that is not signed are processed; `u64::MAX` once it has
/// ended. After a crash consensus delivers a session from its beginning and this many are skipped.
pub(super) const PROGRESS: Table<SessionIndex, u64> = Table::new(0x05);

/// Assets minus liabilities of each module as kept along the way: two's complement, 16 bytes big
/// endian, in msat.
pub(super) const NET: Table<ModuleInstanceId, [u8; 16]> = Table::new(0x06);

/// The last session to which each guardian contributed an accepted item.
pub(super) const LAST_CONTRIBUTION: Table<PeerId, SessionIndex> = Table::new(0x07);

/// Encoded bytes of all accepted items of each session that has not ended yet; kept along the way
/// with [`ITEMS`].
pub(super) const RUNNING_BYTES: Table<SessionIndex, u64> = Table::new(0x08);

/// The first byte of all keys of modules.
const MODULES: u8 = 0xff;

/// The prefix of one module instance's own keys.
pub(super) fn module_prefix(instance: ModuleInstanceId) -> Vec<u8> {
    let mut prefix = vec![MODULES];
    instance.encode(&mut prefix);
    prefix
}
