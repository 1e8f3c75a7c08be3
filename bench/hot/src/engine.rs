//! The engine with a mint in it.

use std::collections::BTreeMap;
use std::hint::black_box;

use moneta_core::version::CORE_CONSENSUS_2_1;
use moneta_core::{ConsensusItem, Encode as _, FederationSize, PeerId, SessionIndex, Transaction};
use moneta_guardian::engine::Engine;
use moneta_module::erased::erase_server;
use moneta_module::server::Facts;
use moneta_store::{Batch, Memory, ScopedWrite, Store, WriteSet};

use crate::federation::{INSTANCE, Mint};

/// A guardian's mint, its store with issued notes, and transactions that spend them.
struct Scene {
    mint: Mint,
    store: Store,
    transactions: Vec<Transaction>,
}

impl Scene {
    fn new(transactions: usize) -> Self {
        let mut mint = Mint::new();
        let store = Memory::store();
        let prefix = engine(&mint).module_key(INSTANCE, &[]);
        let snapshot = store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let notes = mint.issue(transactions * 5, &mut ScopedWrite::new(&mut writes, prefix));
        let batch: Batch = writes.into_batch();
        store.commit(batch).expect("memory does not fail");
        let transactions = notes.chunks(5).map(|notes| mint.transaction(notes)).collect();
        Self { mint, store, transactions }
    }
}

/// An engine that has seen nothing: its caches are empty.
pub(crate) fn engine(mint: &Mint) -> Engine {
    let size = FederationSize::new(1).expect("one guardian is a federation");
    let modules = BTreeMap::from([(INSTANCE, erase_server(mint.server()))]);
    Engine::new(modules, size, CORE_CONSENSUS_2_1)
}

/// The transactions as a guardian puts them into a unit.
pub(crate) fn unit_of(transactions: &[Transaction]) -> Vec<Vec<u8>> {
    let item = |transaction: &Transaction| ConsensusItem::Transaction(transaction.clone());
    transactions.iter().map(|transaction| item(transaction).to_bytes()).collect()
}

pub(crate) fn check_submission() -> Box<dyn FnMut()> {
    let scene = Scene::new(1);
    Box::new(move || {
        let snapshot = scene.store.snapshot();
        let engine = engine(&scene.mint);
        let outcome = engine.check_submission(&snapshot, black_box(&scene.transactions[0]));
        assert!(outcome.is_ok_and(|outcome| outcome.0.is_ok()), "the transaction is valid");
    })
}

pub(crate) fn process_unit() -> Box<dyn FnMut()> {
    let scene = Scene::new(10);
    let items = unit_of(&scene.transactions);
    Box::new(move || {
        let engine = engine(&scene.mint);
        let unit = engine.decode_unit(PeerId(0), black_box(&items)).expect("we encoded it");
        engine.prepare(&[&unit]);
        let snapshot = scene.store.snapshot();
        let mut writes = WriteSet::new(&snapshot);
        let processed =
            engine.process_unit(&mut writes, SessionIndex(0), 0, &unit, &Facts::default());
        let accepted = processed.map_or(0, |processed| processed.transactions.len());
        assert_eq!(accepted, 10, "all transactions are valid");
        black_box(writes.into_batch());
    })
}
