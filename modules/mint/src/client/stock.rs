//! What the wallet holds: notes, and tweaks for notes to come.
//!
//! All of it is written in the turn that decides it. A note leaves the stock only in the same turn
//! that records where it went: a machine's state, or the list of notes sent.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::hash160;
use moneta_core::amount::Msat;
use moneta_core::id::{OperationId, OutPointRange, TransactionId};
use moneta_core::{Decode, Encode};
use moneta_store::{KeyRange, Order, Read, StoreError, Table, Write};

use super::keys::{NoteKeys, NoteRequest, NoteSecrets};
use crate::words::{Denomination, ECash, Nonce, SpendableNote, Tweak, hash160};

/// Notes that can be spent.
const NOTES: Table<(Denomination, Nonce), SpendableNote> = Table::new(0x01);
/// Tweaks ground ahead.
const TWEAKS: Table<Tweak, ()> = Table::new(0x02);
/// E-cash that was handed out, so that it can be taken back.
const SENT: Table<OperationId, ECash> = Table::new(0x03);
/// Notes that were refused when they were to be spent, or are worth less than spending them costs.
const SET_ASIDE: Table<Nonce, SpendableNote> = Table::new(0x04);
/// How far receptions are.
const RECEPTIONS: Table<OperationId, Reception> = Table::new(0x05);
/// Set from the restart of a wallet until it knows how long the recovery log is.
const LOG_LENGTH_UNKNOWN: Table<(), ()> = Table::new(0x06);
/// Hashes of nonces that recovery must not take (again). Kept for ever: an output that repeats an
/// old one would otherwise bring back a note that is spent (docs/protocol/mint.md, section 6.2).
const SEEN: Table<hash160::Hash, ()> = Table::new(0x07);
/// Notes found in the recovery log and not seen spent, by the hash of their nonce.
const FOUND: Table<hash160::Hash, NoteRequest> = Table::new(0x08);
/// Notes found whose signatures the federation did not give.
const UNRESOLVED: Table<hash160::Hash, NoteRequest> = Table::new(0x09);
/// What rejected transactions asked for, by transaction and first output.
const VOID: Table<(TransactionId, u64), VoidOutputs> = Table::new(0x0a);
/// When the last payments were made, in milliseconds since the Unix epoch, oldest first. A few.
const PAYMENTS: Table<(), Vec<u64>> = Table::new(0x0b);
/// How many notes of a denomination are in [`NOTES`], where there is any: a shop that was paid ten thousand
/// times holds as many notes as its counts say, and every payment asks for them.
const COUNTS: Table<Denomination, u64> = Table::new(0x0d);
/// Set while the stock is filled up for payments to come.
const RESTOCKING: Table<(), ()> = Table::new(0x0c);

/// Hashes spent on one tweak when none is in stock. One of 65,536 is found, so that none is found
/// in so many with probability e^-65536: never.
const GRIND_ATTEMPTS_MAX: u32 = u32::MAX;

/// How far one reception is. A bundle that is refused is tried again in parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Reception {
    /// Bundles whose fate is open.
    pub(super) open: u64,
    /// Face value of the notes received.
    pub(super) received: Msat,
    /// Face value of the notes refused.
    pub(super) refused: Msat,
}

/// Outputs of a rejected transaction that are looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct VoidOutputs {
    /// Where they would stand.
    pub(super) range: OutPointRange,
    /// What they would be.
    pub(super) requests: Vec<NoteRequest>,
    /// How often they were looked at.
    pub(super) checks: u64,
    /// When they are next, in milliseconds since the Unix epoch.
    pub(super) due_ms: u64,
}

/// How many notes of each denomination are in stock.
pub(super) fn counts(state: &dyn Read) -> Result<BTreeMap<Denomination, u64>, StoreError> {
    let counts: BTreeMap<_, _> = COUNTS.scan(state, Order::Ascending).collect::<Result<_, _>>()?;
    if counts.is_empty() { recount(state) } else { Ok(counts) }
}

/// Begins to keep counts where a build that kept none has left notes.
fn begin_counts(state: &mut dyn Write) -> Result<(), StoreError> {
    if COUNTS.last_key(&*state, &())?.is_none() {
        for (denomination, count) in recount(&*state)? {
            COUNTS.insert(state, &denomination, &count);
        }
    }
    Ok(())
}

/// [`counts`], from the notes themselves.
pub(super) fn recount(state: &dyn Read) -> Result<BTreeMap<Denomination, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    for row in NOTES.scan(state, Order::Ascending) {
        let ((denomination, _), _) = row?;
        *counts.entry(denomination).or_default() += 1;
    }
    Ok(counts)
}

/// Leaves the stock as a build does that kept no counts.
#[cfg(test)]
pub(super) fn forget_counts(state: &mut dyn Write) -> Result<(), StoreError> {
    for denomination in counts(&*state)?.into_keys() {
        COUNTS.remove(state, &denomination);
    }
    Ok(())
}

/// Adds a note, if it is not there.
pub(super) fn put(state: &mut dyn Write, note: &SpendableNote) -> Result<(), StoreError> {
    let key = (note.denomination, note.nonce());
    if NOTES.contains(state, &key)? {
        return Ok(());
    }
    begin_counts(state)?;
    NOTES.insert(state, &key, note);
    let count = COUNTS.get(state, &note.denomination)?.unwrap_or_default();
    COUNTS.insert(state, &note.denomination, &count.saturating_add(1));
    Ok(())
}

/// Takes `count` notes of a denomination out of the stock; fewer if there are fewer.
pub(super) fn take(
    state: &mut dyn Write,
    denomination: Denomination,
    count: u64,
) -> Result<Vec<SpendableNote>, StoreError> {
    let rows = NOTES.starting_with(state, &denomination, Order::Ascending);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let notes: Result<Vec<_>, _> = rows.take(count).map(|row| row.map(|(_, note)| note)).collect();
    let notes = notes?;
    for note in &notes {
        remove(state, note)?;
    }
    Ok(notes)
}

/// Takes this very note out of the stock if it is there.
pub(super) fn remove(state: &mut dyn Write, note: &SpendableNote) -> Result<(), StoreError> {
    let key = (note.denomination, note.nonce());
    if !NOTES.contains(state, &key)? {
        return Ok(());
    }
    begin_counts(state)?;
    NOTES.remove(state, &key);
    match COUNTS.get(state, &note.denomination)?.unwrap_or_default().saturating_sub(1) {
        0 => COUNTS.remove(state, &note.denomination),
        left => COUNTS.insert(state, &note.denomination, &left),
    }
    Ok(())
}

/// Puts a note where nothing spends it by itself.
pub(super) fn set_aside(state: &mut dyn Write, note: &SpendableNote) {
    SET_ASIDE.insert(state, &note.nonce(), note);
}

/// The notes that were set aside.
pub(super) fn notes_set_aside(state: &dyn Read) -> Result<Vec<SpendableNote>, StoreError> {
    SET_ASIDE.scan(state, Order::Ascending).map(|row| row.map(|(_, note)| note)).collect()
}

pub(super) fn record_sent(state: &mut dyn Write, operation: OperationId, ecash: &ECash) {
    SENT.insert(state, &operation, ecash);
}

pub(super) fn sent(state: &dyn Read, id: OperationId) -> Result<Option<ECash>, StoreError> {
    SENT.get(state, &id)
}

pub(super) fn reception(state: &dyn Read, id: OperationId) -> Result<Reception, StoreError> {
    Ok(RECEPTIONS.get(state, &id)?.unwrap_or_default())
}

pub(super) fn set_reception(state: &mut dyn Write, id: OperationId, reception: &Reception) {
    RECEPTIONS.insert(state, &id, reception);
}

/// How many tweaks are in stock.
pub(super) fn tweak_count(state: &dyn Read) -> Result<usize, StoreError> {
    let mut count = 0;
    for entry in state.scan(KeyRange::prefix([TWEAKS.prefix()]), Order::Ascending) {
        entry?;
        count += 1;
    }
    Ok(count)
}

pub(super) fn put_tweak(state: &mut dyn Write, tweak: &Tweak) {
    TWEAKS.insert(state, tweak, &());
}

/// Takes a tweak that was never used; if none is in stock, the first valid one from the random
/// number `start` on.
pub(super) fn take_tweak(
    state: &mut dyn Write,
    secrets: &NoteSecrets,
    start: u128,
) -> Result<Tweak, StoreError> {
    if let Some((tweak, ())) = TWEAKS.first(state)? {
        TWEAKS.remove(state, &tweak);
        return Ok(tweak);
    }
    let found = secrets.grind(start, GRIND_ATTEMPTS_MAX).next();
    Ok(found.unwrap_or_else(|| start.to_be_bytes()))
}

/// Notes issued while the length of the log is unknown lie in the part that recovery reads, and
/// must not be recovered as well.
pub(super) fn note_requested(state: &mut dyn Write, keys: &NoteKeys) -> Result<(), StoreError> {
    if LOG_LENGTH_UNKNOWN.contains(state, &())? {
        mark_seen(state, &hash160(&keys.nonce().to_array()));
    }
    Ok(())
}

pub(super) fn set_log_length_unknown(state: &mut dyn Write, unknown: bool) {
    if unknown {
        LOG_LENGTH_UNKNOWN.insert(state, &(), &());
    } else {
        LOG_LENGTH_UNKNOWN.remove(state, &());
    }
}

/// Marks a nonce; returns nothing new about it.
pub(super) fn mark_seen(state: &mut dyn Write, nonce_hash: &hash160::Hash) {
    SEEN.insert(state, nonce_hash, &());
}

pub(super) fn was_seen(state: &dyn Read, hash: &hash160::Hash) -> Result<bool, StoreError> {
    SEEN.contains(state, hash)
}

/// All nonces seen, unless there are more than `limit`.
pub(super) fn seen(
    state: &dyn Read,
    limit: usize,
) -> Result<Option<BTreeSet<hash160::Hash>>, StoreError> {
    let rows = SEEN.scan(state, Order::Ascending).take(limit.saturating_add(1));
    let seen: BTreeSet<_> = rows.map(|row| row.map(|(hash, ())| hash)).collect::<Result<_, _>>()?;
    Ok((seen.len() <= limit).then_some(seen))
}

pub(super) fn put_found(state: &mut dyn Write, hash: &hash160::Hash, request: &NoteRequest) {
    FOUND.insert(state, hash, request);
}

pub(super) fn remove_found(state: &mut dyn Write, hash: &hash160::Hash) {
    FOUND.remove(state, hash);
}

/// Up to `count` notes found.
pub(super) fn some_found(state: &dyn Read, count: usize) -> Result<Vec<NoteRequest>, StoreError> {
    FOUND
        .scan(state, Order::Ascending)
        .take(count)
        .map(|row| row.map(|(_, request)| request))
        .collect()
}

pub(super) fn put_unresolved(state: &mut dyn Write, hash: &hash160::Hash, request: &NoteRequest) {
    UNRESOLVED.insert(state, hash, request);
}

pub(super) fn remove_unresolved(state: &mut dyn Write, hash: &hash160::Hash) {
    UNRESOLVED.remove(state, hash);
}

/// Notes that were found and could not be completed.
pub(super) fn unresolved(state: &dyn Read) -> Result<Vec<NoteRequest>, StoreError> {
    UNRESOLVED.scan(state, Order::Ascending).map(|row| row.map(|(_, request)| request)).collect()
}

pub(super) fn payments(state: &dyn Read) -> Result<Vec<u64>, StoreError> {
    Ok(PAYMENTS.get(state, &())?.unwrap_or_default())
}

pub(super) fn set_payments(state: &mut dyn Write, times: &Vec<u64>) {
    PAYMENTS.insert(state, &(), times);
}

pub(super) fn is_restocking(state: &dyn Read) -> Result<bool, StoreError> {
    RESTOCKING.contains(state, &())
}

pub(super) fn set_restocking(state: &mut dyn Write, restocking: bool) {
    if restocking {
        RESTOCKING.insert(state, &(), &());
    } else {
        RESTOCKING.remove(state, &());
    }
}

pub(super) fn put_void(state: &mut dyn Write, outputs: &VoidOutputs) {
    VOID.insert(state, &void_key(&outputs.range), outputs);
}

pub(super) fn remove_void(state: &mut dyn Write, range: &OutPointRange) {
    VOID.remove(state, &void_key(range));
}

/// All outputs of rejected transactions that are still looked at.
pub(super) fn void(state: &dyn Read) -> Result<Vec<VoidOutputs>, StoreError> {
    VOID.scan(state, Order::Ascending).map(|row| row.map(|(_, outputs)| outputs)).collect()
}

fn void_key(range: &OutPointRange) -> (TransactionId, u64) {
    (range.txid, range.idx_range.start)
}
