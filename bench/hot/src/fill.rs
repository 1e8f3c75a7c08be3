//! Books of a guardian that has served many payments, written without any curve operation.
//!
//! Rows have the tables, keys and lengths that the engine and the mint write, with random bytes where
//! nonces, points and hashes stand; a test compares them with those of a processed payment. Nothing reads
//! these bytes back as points, so look-ups, commits and opening cost what they cost with real ones.
//!
//! Commits are large and the log's length says how far they came: an interrupted fill goes on there.

use std::collections::BTreeMap;

use bitcoin::secp256k1::constants::SCHNORR_SIGNATURE_SIZE;
use bitcoin::secp256k1::schnorr::Signature;
use moneta_core::{
    AcceptedItem, ConsensusItem, Encode as _, ModuleInstanceId, OutPoint, PeerId, SessionIndex,
    TransactionId,
};
use moneta_mint::words::{Denomination, RecoveryItem, hash160};
use moneta_store::{
    Memory, Read, ScopedRead, ScopedWrite, Store, StoreError, Table, Write as _, WriteSet,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::federation::{INSTANCE, Mint, SPENT as SPENT_DENOMINATION};

// The mint's tables (modules/mint/src/server/tables.rs) with plain bytes where it has points.
const SPENT: Table<[u8; 33], ()> = Table::new(0x01);
const ISSUED: Table<Denomination, u64> = Table::new(0x02);
const RECOVERY: Table<u64, RecoveryItem> = Table::new(0x03);
const RECOVERY_COUNT: Table<(), u64> = Table::new(0x04);
const SHARE_AT: Table<OutPoint, [u8; 48]> = Table::new(0x80);
const FIRST_SHARE: Table<[u8; 48], [u8; 48]> = Table::new(0x81);

// The engine's (crates/guardian/src/engine/tables.rs).
const ACCEPTED: Table<TransactionId, Vec<ModuleInstanceId>> = Table::new(0x02);
const ITEMS: Table<(SessionIndex, u64), AcceptedItem> = Table::new(0x01);
const SIGNED: Table<SessionIndex, BTreeMap<PeerId, Signature>> = Table::new(0x04);
/// What stands before the keys of a module.
const MODULES: u8 = 0xff;

/// Notes in, and notes out, of a filled payment.
const NOTES: u64 = 5;
/// Entries of the recovery log that a filled payment makes.
const LOG_ITEMS: u64 = 2 * NOTES;
/// Payments of a filled session: five a second for three minutes.
const PAYMENTS_PER_SESSION: u64 = 1_000;
/// Sessions of one commit: 1.3 million rows, some 400 MB of memory.
const SESSIONS_PER_COMMIT: u64 = 50;
/// Items of the log in one commit, where nothing but the log is written.
const ITEMS_PER_COMMIT: u64 = 500_000;

/// A filled store holds a multiple of so many spent notes: whole sessions.
pub const SPENT_STEP: u64 = PAYMENTS_PER_SESSION * NOTES;

/// How many notes the payments in a store have spent, if it was filled by [`fill_payments`].
///
/// Errors: the store cannot be read.
pub fn spent_notes(store: &Store) -> Result<u64, StoreError> {
    Ok(log_length(&store.snapshot(), INSTANCE)? / LOG_ITEMS * NOTES)
}

/// Fills a store up to `spent` spent notes, rounded up to [`SPENT_STEP`]; `told` hears how far it is.
///
/// Errors: the store fails; what was committed stays and a later call goes on.
pub fn fill_payments(
    store: &Store,
    spent: u64,
    mut told: impl FnMut(u64),
) -> Result<(), StoreError> {
    let sessions = spent.div_ceil(SPENT_STEP);
    let mut session = spent_notes(store)? / SPENT_STEP;
    // The same one again and again: only its length matters.
    let item = item().to_bytes();
    let signatures = signatures();
    while session < sessions {
        let end = (session + SESSIONS_PER_COMMIT).min(sessions);
        let snapshot = store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let mut rng = StdRng::seed_from_u64(session);
        for index in session..end {
            let session = SessionIndex(index);
            for position in 0..PAYMENTS_PER_SESSION {
                put_payment(&mut writes, session, position, &item, &mut rng);
            }
            SIGNED.insert(&mut writes, &session, &signatures);
        }
        let mut mint = ScopedWrite::new(&mut writes, module_prefix(INSTANCE));
        RECOVERY_COUNT.insert(&mut mint, &(), &(end * PAYMENTS_PER_SESSION * LOG_ITEMS));
        // Enough outstanding notes for everything that is spent later.
        ISSUED.insert(&mut mint, &SPENT_DENOMINATION, &(1 << 32));
        store.commit(writes.into_batch())?;
        session = end;
        told(session * SPENT_STEP);
    }
    Ok(())
}

/// Appends `items` to the recovery log of a mint, as strangers would have made them: outputs and inputs
/// in turn, with random tweaks and hashes. Every guardian's store must get the same, hence the `seed`.
///
/// Nothing else is written, so books and sessions stay as they were.
/// Errors: the store fails; what was committed stays.
pub fn append_strangers(
    store: &Store,
    instance: ModuleInstanceId,
    items: u64,
    seed: u64,
) -> Result<(), StoreError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut left = items;
    while left > 0 {
        let now = left.min(ITEMS_PER_COMMIT);
        store.update(|writes| -> Result<(), StoreError> {
            let start = log_length(writes, instance)?;
            let mut mint = ScopedWrite::new(writes, module_prefix(instance));
            for index in start..start + now {
                let item =
                    if index % 2 == 0 { output_item(&mut rng) } else { input_item(&mut rng) };
                RECOVERY.insert(&mut mint, &index, &item);
            }
            RECOVERY_COUNT.insert(&mut mint, &(), &(start + now));
            Ok(())
        })?;
        left -= now;
    }
    Ok(())
}

fn log_length(view: &dyn Read, instance: ModuleInstanceId) -> Result<u64, StoreError> {
    let mint = ScopedRead::new(view, module_prefix(instance));
    Ok(RECOVERY_COUNT.get(&mint, &())?.unwrap_or(0))
}

fn module_prefix(instance: ModuleInstanceId) -> Vec<u8> {
    let mut prefix = vec![MODULES];
    instance.encode(&mut prefix);
    prefix
}

/// The rows that stay of a payment, all but counters.
fn put_payment(
    writes: &mut WriteSet<'_>,
    session: SessionIndex,
    position: u64,
    item: &[u8],
    rng: &mut StdRng,
) {
    writes.put(ITEMS.key(&(session, position)), item.to_vec());
    let txid = TransactionId(rng.r#gen());
    ACCEPTED.insert(writes, &txid, &vec![INSTANCE; NOTES as usize]);
    let mut mint = ScopedWrite::new(writes, module_prefix(INSTANCE));
    let first = (session.0 * PAYMENTS_PER_SESSION + position) * LOG_ITEMS;
    for note in 0..NOTES {
        let nonce: [u8; 33] = bytes(rng);
        SPENT.insert(&mut mint, &nonce, &());
        RECOVERY.insert(&mut mint, &(first + note), &input_item(rng));
        let (blinded, share): ([u8; 48], [u8; 48]) = (bytes(rng), bytes(rng));
        SHARE_AT.insert(&mut mint, &OutPoint { txid, out_idx: note }, &share);
        FIRST_SHARE.insert(&mut mint, &blinded, &share);
        RECOVERY.insert(&mut mint, &(first + NOTES + note), &output_item(rng));
    }
}

fn output_item(rng: &mut StdRng) -> RecoveryItem {
    let nonce_hash = hash160(&bytes::<8>(rng));
    RecoveryItem::Output { denomination: Denomination(9), nonce_hash, tweak: rng.r#gen() }
}

fn input_item(rng: &mut StdRng) -> RecoveryItem {
    RecoveryItem::Input { nonce_hash: hash160(&bytes::<8>(rng)) }
}

fn bytes<const N: usize>(rng: &mut StdRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// As of four guardians.
fn signatures() -> BTreeMap<PeerId, Signature> {
    let signature = Signature::from_slice(&[1; SCHNORR_SIGNATURE_SIZE])
        .expect("any 64 bytes have the form of a signature");
    (0..3).map(|peer| (PeerId(peer), signature)).collect()
}

/// A real payment as it stands in a session.
fn item() -> AcceptedItem {
    let mut mint = Mint::new();
    let store = Memory::store();
    let snapshot = store.snapshot();
    let notes = mint.issue(NOTES as usize, &mut WriteSet::new(&snapshot));
    let payment = mint.transaction(&notes);
    AcceptedItem { item: ConsensusItem::Transaction(payment), peer: PeerId(0) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use moneta_module::server::Facts;
    use moneta_store::Batch;

    use super::*;
    use crate::engine::{engine, unit_of};

    /// Table and lengths of every row, but of counters and of what lives until the session is signed.
    fn shapes(batch: &Batch) -> Vec<(Vec<u8>, usize, usize)> {
        let module = module_prefix(INSTANCE);
        let table = |key: &[u8]| match key.starts_with(&module) {
            true => key[..=module.len()].to_vec(),
            false => key[..1].to_vec(),
        };
        let inner = |number: u8| [module.clone(), vec![number]].concat();
        let kept = [
            vec![ITEMS.prefix()],
            vec![ACCEPTED.prefix()],
            inner(SPENT.prefix()),
            inner(RECOVERY.prefix()),
            inner(SHARE_AT.prefix()),
            inner(FIRST_SHARE.prefix()),
        ];
        let mut shapes: Vec<_> = batch
            .iter()
            .map(|(key, value)| (table(key), key.len(), value.unwrap_or_default().len()))
            .filter(|(table, ..)| kept.contains(table))
            .collect();
        shapes.sort();
        shapes
    }

    #[test]
    fn filled_payment_has_the_rows_of_a_processed_one() {
        let mut mint = Mint::new();
        let store = Memory::store();
        let snapshot = store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let notes =
            mint.issue(NOTES as usize, &mut ScopedWrite::new(&mut writes, module_prefix(INSTANCE)));
        store.commit(writes.into_batch()).unwrap();
        let engine = engine(&mint);
        let unit = engine.decode_unit(PeerId(0), &unit_of(&[mint.transaction(&notes)])).unwrap();
        let snapshot = store.snapshot();
        let mut real = WriteSet::new(&snapshot);
        engine.process_unit(&mut real, SessionIndex(0), 0, &unit, &Facts::default()).unwrap();

        let empty = Memory::store().snapshot();
        let mut filled = WriteSet::new(&empty);
        let item = item().to_bytes();
        put_payment(&mut filled, SessionIndex(0), 0, &item, &mut StdRng::seed_from_u64(1));
        assert_eq!(shapes(&filled.into_batch()), shapes(&real.into_batch()));
    }

    #[test]
    fn filled_store_goes_on_as_the_engine_sees_it() {
        let store = Memory::store();
        fill_payments(&store, 1, |_| ()).unwrap();
        assert_eq!(spent_notes(&store).unwrap(), SPENT_STEP);
        fill_payments(&store, 2 * SPENT_STEP, |_| ()).unwrap();
        assert_eq!(spent_notes(&store).unwrap(), 2 * SPENT_STEP);
        let count = engine(&Mint::new()).session_count(&store.snapshot()).unwrap();
        assert_eq!(count, SessionIndex(2));
    }

    #[test]
    fn log_grows_alike_with_the_same_seed() {
        let stores = [Memory::store(), Memory::store()];
        for store in &stores {
            append_strangers(store, INSTANCE, 3, 7).unwrap();
            append_strangers(store, INSTANCE, 2, 8).unwrap();
            assert_eq!(log_length(&store.snapshot(), INSTANCE).unwrap(), 5);
        }
        let item = |store: &Store, index| {
            let view = store.snapshot();
            RECOVERY.get(&ScopedRead::new(&view, module_prefix(INSTANCE)), &index).unwrap().unwrap()
        };
        for index in 0..5 {
            assert_eq!(item(&stores[0], index), item(&stores[1], index));
        }
    }
}
