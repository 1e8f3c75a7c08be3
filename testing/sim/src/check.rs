//! What must hold, whatever happens.

use std::collections::BTreeMap;

use bitcoin::hashes::{Hash as _, sha256};
use moneta_core::{Msat, SessionHeader, SessionIndex};
use moneta_guardian::engine::Engine;
use moneta_module::LOCAL_TABLES_FROM;
use moneta_store::{Batch, KeyRange, Order, Read};

use crate::federation::MINT;
use crate::guardian::Trouble;
use crate::wallet::StockNote;
use crate::world::World;

/// The first byte of the keys of spent notes (`modules/mint`, server tables).
const SPENT: u8 = 0x01;

/// What guardians did first at each position of the log; everybody else must do the same.
#[derive(Default)]
pub(crate) struct Ledger {
    units: BTreeMap<(SessionIndex, u64), sha256::Hash>,
    headers: BTreeMap<SessionIndex, SessionHeader>,
}

impl Ledger {
    /// A guardian has processed the unit at a position with these writes.
    ///
    /// Errors: another one wrote something else to consensus state.
    pub(crate) fn note_unit(
        &mut self,
        engine: &Engine,
        session: SessionIndex,
        position: u64,
        batch: &Batch,
    ) -> Result<(), Trouble> {
        let mut hash = sha256::Hash::engine();
        for (key, value) in batch.iter().filter(|(key, _)| is_shared(engine, key)) {
            use bitcoin::hashes::HashEngine as _;
            hash.input(&(key.len() as u64).to_be_bytes());
            hash.input(key);
            hash.input(&(value.map_or(u64::MAX, |value| value.len() as u64)).to_be_bytes());
            hash.input(value.unwrap_or_default());
        }
        let hash = sha256::Hash::from_engine(hash);
        let first = self.units.entry((session, position)).or_insert(hash);
        if *first != hash {
            let message = format!("guardians differ behind unit {position} of session {session}");
            return Err(Trouble::Broken(message));
        }
        Ok(())
    }

    /// A guardian holds this for the outcome of a session.
    ///
    /// Errors: another one holds something else.
    pub(crate) fn note_header(&mut self, header: SessionHeader) -> Result<(), Trouble> {
        let first = self.headers.entry(header.index).or_insert(header);
        if *first != header {
            let message = format!("guardians differ about session {}", header.index);
            return Err(Trouble::Broken(message));
        }
        Ok(())
    }

    /// How many sessions and units were seen.
    pub(crate) fn extent(&self) -> (usize, usize) {
        (self.headers.len(), self.units.len())
    }
}

/// Whether a row is the same on all guardians: everything but the modules' local tables.
fn is_shared(engine: &Engine, key: &[u8]) -> bool {
    let prefixes = engine.modules().map(|(instance, _)| engine.module_key(instance, &[]));
    let mut tables =
        prefixes.filter_map(|prefix| key.strip_prefix(prefix.as_slice())?.first().copied());
    tables.next().is_none_or(|table| table < LOCAL_TABLES_FROM)
}

/// All rows that guardians at the same position share. Left out are outcomes that are not signed
/// yet, and signed ones, in which each guardian stores the signatures that came first.
pub(crate) fn shared_rows(engine: &Engine, view: &dyn Read) -> BTreeMap<Vec<u8>, Vec<u8>> {
    const ENDED: u8 = 0x03;
    const SIGNED: u8 = 0x04;
    let rows = view.scan(KeyRange::all(), Order::Ascending).filter_map(Result::ok);
    rows.filter(|(key, _)| !matches!(key.first(), Some(&ENDED | &SIGNED)) && is_shared(engine, key))
        .collect()
}

/// Checks what holds at any moment: the books of every guardian that runs, and that wallets hold no
/// more than the federation owes them.
///
/// Errors: what does not hold.
pub(crate) fn check_now(world: &World) -> Result<(), String> {
    for guardian in &world.guardians {
        let Some(process) = &guardian.process else { continue };
        let checked = process.engine.check_books(&guardian.disk.durable());
        checked.map_err(|halt| format!("guardian {}: {halt}", guardian.me))?;
    }
    let Some(engine) = world.guardians.iter().find_map(|g| Some(&g.process.as_ref()?.engine))
    else {
        return Ok(());
    };
    // Whoever is behind has not issued yet what wallets hold.
    let mut furthest = None;
    for guardian in &world.guardians {
        let position = guardian.position(engine).map_err(|error| error.to_string())?;
        furthest = furthest.max(Some((position, guardian.me)));
    }
    let Some((_, first)) = furthest else { return Ok(()) };
    let view = world.guardians[first.index()].disk.durable();
    let mut held: BTreeMap<Vec<u8>, Msat> = BTreeMap::new();
    for wallet in &world.wallets {
        held.extend(wallet.stock().map_err(|trouble| format!("{trouble:?}"))?);
    }
    let held = unspent(engine, &view, held).map(|(_, value)| i128::from(value.0)).sum::<i128>();
    let lines = engine.audit(&view).map_err(|error| error.to_string())?;
    let owed = lines.iter().find(|line| line.instance == MINT).map_or(0, |line| -line.net_msat);
    if held > owed {
        return Err(format!("wallets hold {held} msat of notes, {owed} are out"));
    }
    Ok(())
}

/// The notes that are not spent according to a guardian's store.
pub(crate) fn unspent<'a>(
    engine: &'a Engine,
    view: &'a dyn Read,
    notes: impl IntoIterator<Item = StockNote> + 'a,
) -> impl Iterator<Item = StockNote> + 'a {
    notes.into_iter().filter(move |(nonce, _)| !is_spent(engine, view, nonce))
}

/// Whether a note is spent according to a guardian's store.
pub(crate) fn is_spent(engine: &Engine, view: &dyn Read, nonce: &[u8]) -> bool {
    let mut key = vec![SPENT];
    key.extend_from_slice(nonce);
    view.get(&engine.module_key(MINT, &key)).is_ok_and(|value| value.is_some())
}
