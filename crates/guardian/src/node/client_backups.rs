//! Backups that clients leave with this guardian, encrypted to themselves.
//!
//! Not ordered by consensus: each guardian keeps what it was given. Anybody may leave one under as
//! many ids as he likes, so the sum of all is bounded; at the bound ids that are known may still
//! replace theirs by what is no longer, anything else is refused.
//!
//! Source: docs/protocol/core.md, section 9.6; docs/protocol/guardian.md, section 8.

use std::time::Duration;

use moneta_core::api::BackupStatistics;
use moneta_core::{ApiError, SignedBackupRequest, Timestamp};
use moneta_store::{Order, Read, StoreError, Write};

use super::tables;

/// Most bytes of all backups together: some 80,000 of the largest size, millions of usual ones.
pub(super) const LIMIT_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// What a backup costs beside its bytes, so that empty ones are bounded, too.
const COST_BYTES: u64 = 128;

/// Stores a client's backup in place of its former one.
///
/// Errors: inner 400 with the texts and in the order of core.md 9.6; inner 500 when no more fit.
/// Nothing is written then.
pub(super) fn keep(
    state: &mut dyn Write,
    backup: SignedBackupRequest,
    now: Timestamp,
    limit_bytes: u64,
) -> Result<Result<(), ApiError>, StoreError> {
    let id = backup.request.id;
    let known = tables::BACKUPS.get(state, &id)?;
    if let Err(refusal) = backup.check(known.as_ref().map(|known| known.timestamp), now) {
        return Ok(Err(ApiError::bad_request(refusal)));
    }
    let cost = |bytes: &[u8]| bytes.len() as u64 + COST_BYTES;
    let before = tables::BACKUP_BYTES.get(state, &())?.unwrap_or(0);
    let freed = known.as_ref().map_or(0, |known| cost(&known.data));
    let after = before.saturating_sub(freed) + cost(&backup.request.payload);
    // Whoever is known may not grow either: empty backups cost little, and all could grow at once.
    if after > limit_bytes && after > before {
        return Ok(Err(ApiError::internal("This guardian has no room for more backups")));
    }
    tables::BACKUP_BYTES.insert(state, &(), &after);
    tables::BACKUPS.insert(state, &id, &backup.into_snapshot());
    Ok(Ok(()))
}

/// Answers `backup_statistics`.
pub(super) fn statistics(state: &dyn Read, now: Timestamp) -> Result<BackupStatistics, StoreError> {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut statistics = BackupStatistics::default();
    for row in tables::BACKUPS.scan(state, Order::Ascending) {
        let (_, snapshot) = row?;
        let age = now.since_epoch().saturating_sub(snapshot.timestamp.since_epoch());
        statistics.num_backups += 1;
        statistics.total_size += snapshot.data.len() as u64;
        statistics.refreshed_1d += u64::from(age <= DAY);
        statistics.refreshed_1w += u64::from(age <= 7 * DAY);
        statistics.refreshed_1m += u64::from(age <= 30 * DAY);
        statistics.refreshed_3m += u64::from(age <= 90 * DAY);
    }
    Ok(statistics)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_core::BackupRequest;
    use moneta_store::{Memory, Store};

    use super::*;
    use crate::testing::keypair;

    const DAY: u64 = 86_400;
    const NOW: u64 = 400 * DAY;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs(secs)).unwrap()
    }

    fn backup(owner: u64, bytes: usize, secs: u64) -> SignedBackupRequest {
        let key = keypair(owner);
        let (id, payload) = (key.public_key(), vec![7; bytes]);
        BackupRequest { id, payload, timestamp: at(secs) }.sign(&key)
    }

    fn put(store: &Store, backup: SignedBackupRequest, limit_bytes: u64) -> Result<(), ApiError> {
        store
            .update(|writes| keep(writes, backup, at(NOW), limit_bytes))
            .map_err(|error: StoreError| panic!("{error}"))
            .unwrap()
    }

    fn refused(result: Result<(), ApiError>, code: i32, text: &str) {
        let error = result.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (code, text));
    }

    #[test]
    fn backups_are_refused_in_the_order_of_the_protocol() {
        let store = Memory::store();
        put(&store, backup(1, 10, 100), LIMIT_BYTES).unwrap();
        let put = |backup| put(&store, backup, LIMIT_BYTES);
        let mut everything_wrong = backup(1, 131_073, NOW + 3601);
        everything_wrong.request.timestamp = at(NOW + 4000);
        refused(put(everything_wrong), 400, "invalid request");
        refused(put(backup(1, 131_073, NOW + 3601)), 400, "timestamp too far in the future");
        refused(put(backup(1, 131_073, 100)), 400, "snapshot too large");
        refused(put(backup(1, 131_072, 100)), 400, "timestamp too small");
        put(backup(1, 131_072, 101)).unwrap();
    }

    /// A known backup could grow beyond the bound: a million empty ones, replaced by the largest, were
    /// 128 GB, and a full disk stops the guardian.
    #[test]
    fn full_guardian_takes_newer_backups_that_are_no_longer_and_nothing_else() {
        let store = Memory::store();
        let limit = 2 * (100 + COST_BYTES) + 50;
        put(&store, backup(1, 100, 1), limit).unwrap();
        put(&store, backup(2, 100, 1), limit).unwrap();
        let full = "This guardian has no room for more backups";
        refused(put(&store, backup(3, 0, 1), limit), 500, full);
        refused(put(&store, backup(1, 300, 2), limit), 500, full);
        put(&store, backup(1, 150, 2), limit).unwrap();
        refused(put(&store, backup(2, 101, 2), limit), 500, full);
        put(&store, backup(1, 150, 3), limit).unwrap();
        put(&store, backup(1, 0, 4), limit).unwrap();
        refused(put(&store, backup(3, 101, 1), limit), 500, full);
        put(&store, backup(3, 0, 1), limit).unwrap();
    }

    #[test]
    fn statistics_count_by_age() {
        let store = Memory::store();
        for (owner, days) in [(1, 1), (2, 7), (3, 30), (4, 90), (5, 91)] {
            put(&store, backup(owner, 10, NOW - days * DAY), LIMIT_BYTES).unwrap();
        }
        let statistics = statistics(&store.snapshot(), at(NOW)).unwrap();
        let ages = (
            statistics.refreshed_1d,
            statistics.refreshed_1w,
            statistics.refreshed_1m,
            statistics.refreshed_3m,
        );
        assert_eq!(ages, (1, 2, 3, 4));
        assert_eq!((statistics.num_backups, statistics.total_size), (5, 50));
    }
}
