//! The server half's state.
//!
//! Tables below `0x80` are consensus state, the others belong to this guardian alone. Points are
//! kept as bytes here: they were checked when they came in, and reading one back as a point costs
//! a subgroup check.

use moneta_core::OutPoint;
use moneta_store::{KeyRange, Order, Read, Scan, StoreError, Table, Write};

use crate::words::{Denomination, Nonce, RecoveryItem, SliceRange};

/// A point of G1, compressed.
pub(super) type PointBytes = [u8; 48];

/// The spend book: every nonce that was spent.
pub(super) const SPENT: Table<Nonce, ()> = Table::new(0x01);
/// How many notes of each denomination are outstanding.
pub(super) const ISSUED: Table<Denomination, u64> = Table::new(0x02);
/// The recovery log, from index 0 without gaps.
const RECOVERY: Table<u64, RecoveryItem> = Table::new(0x03);
/// The length of the recovery log.
const RECOVERY_COUNT: Table<(), u64> = Table::new(0x04);

/// This guardian's signature shares by output.
pub(super) const SHARE_AT: Table<OutPoint, PointBytes> = Table::new(0x80);
/// This guardian's first signature share for each blinded message. A later output with the same
/// message, which anybody can make, must not hide it (docs/protocol/mint.md, section 6.2).
pub(super) const FIRST_SHARE: Table<PointBytes, PointBytes> = Table::new(0x81);

/// How many entries the recovery log has.
pub(super) fn recovery_count(state: &dyn Read) -> Result<u64, StoreError> {
    Ok(RECOVERY_COUNT.get(state, &())?.unwrap_or(0))
}

/// Appends to the recovery log.
pub(super) fn append_recovery(
    state: &mut dyn Write,
    item: &RecoveryItem,
) -> Result<(), StoreError> {
    let index = recovery_count(state)?;
    RECOVERY.insert(state, &index, item);
    RECOVERY_COUNT.insert(state, &(), &(index + 1));
    Ok(())
}

/// The log's entries in `range`, as they are stored.
pub(super) fn scan_recovery(state: &dyn Read, SliceRange(start, end): SliceRange) -> Scan<'_> {
    let range = KeyRange::between(RECOVERY.key(&start), RECOVERY.key(&end));
    state.scan(range, Order::Ascending)
}
