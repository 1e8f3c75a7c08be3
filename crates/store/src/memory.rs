//! The backend that lives in memory only.

use std::sync::{Arc, RwLock};

use std::sync::PoisonError;

use imbl::OrdMap;

use crate::{Backend, Batch, KeyRange, Order, Read, Scan, Snapshot, Store, StoreError};

/// Keys and values are shared, so that copying a node of the tree copies no bytes.
type Map = OrdMap<Arc<[u8]>, Arc<[u8]>>;

/// A store in memory, gone with the process: for tests, the simulator, and wallets whose state the
/// caller keeps elsewhere.
///
/// The map shares structure between versions, so a snapshot costs nothing and a commit costs its own
/// size however many snapshots are held.
#[derive(Default)]
pub struct Memory {
    map: RwLock<Map>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store behind a handle.
    pub fn store() -> Store {
        Store::new(Self::new())
    }
}

impl Backend for Memory {
    fn snapshot(&self) -> Snapshot {
        // A poisoned lock still holds a whole map: a commit replaces it in one step.
        Snapshot::new(View(self.map.read().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut map = current.clone();
        for (key, value) in batch {
            match value {
                Some(value) => map.insert(key.into(), value.into()),
                None => map.remove(key.as_slice()),
            };
        }
        *current = map;
        Ok(())
    }
}

/// One version of the map.
struct View(Map);

impl Read for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        let entries = self.0.range::<_, [u8]>(range.bounds());
        let copy = |(key, value): (&Arc<[u8]>, &Arc<[u8]>)| Ok((key.to_vec(), value.to_vec()));
        match order {
            Order::Ascending => Box::new(entries.map(copy)),
            Order::Descending => Box::new(entries.rev().map(copy)),
        }
    }
}
