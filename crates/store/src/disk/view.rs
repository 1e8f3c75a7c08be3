//! What a snapshot of a disk store is: a view of the tree, and what the tree does not have yet.

use std::sync::Arc;

use imbl::OrdMap;

use super::tree::TreeView;
use crate::{Batch, KeyRange, Order, Read, Scan, StoreError, merge};

/// Committed changes: for each key its value, or `None` if it was removed.
///
/// The map shares structure between versions, so that a copy costs nothing and a commit costs its own
/// size, however many snapshots are held and however much lies in it.
#[derive(Clone, Default)]
pub(super) struct Changes(OrdMap<Arc<[u8]>, Option<Arc<[u8]>>>);

impl Changes {
    /// Adds the changes of `later`.
    pub(super) fn absorb(&mut self, later: Batch) {
        for (key, value) in later {
            self.0.insert(key.into(), value.map(Into::into));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All changes in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    fn over<'a>(&'a self, base: Scan<'a>, range: &KeyRange, order: Order) -> Scan<'a> {
        if self.is_empty() {
            return base;
        }
        let changes = self.0.range::<_, [u8]>(range.bounds());
        let changes = changes.map(|(key, value)| (&**key, value.as_deref()));
        let changes: merge::Changes<'a> = match order {
            Order::Ascending => Box::new(changes),
            Order::Descending => Box::new(changes.rev()),
        };
        merge::merged(base, changes, order)
    }
}

/// All rows at one moment.
#[derive(Clone)]
pub(super) struct View {
    pub(super) tree: Arc<TreeView>,
    /// What is being written into the tree. While it is, it does not matter whether `tree` shows it.
    pub(super) flushing: Changes,
    /// What was committed since. Hides `flushing`, which hides `tree`.
    pub(super) recent: Changes,
}

impl Read for View {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.recent.0.get(key).or_else(|| self.flushing.0.get(key)) {
            Some(changed) => Ok(changed.as_ref().map(|value| value.to_vec())),
            None => self.tree.get(key),
        }
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        let rows = self.tree.scan(range.clone(), order);
        let rows = self.flushing.over(rows, &range, order);
        self.recent.over(rows, &range, order)
    }
}
