//! Writes to be applied together.

use std::collections::{BTreeMap, btree_map};
use std::fmt;

use crate::KeyRange;

/// Writes that are applied together or not at all: for each key its new value, or that it is
/// removed. A later write to a key replaces the earlier one.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// No writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value under `key`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.insert(key.into(), None);
    }

    /// Returns what is written under `key`: a value, `Some(None)` for a removal, or `None` if the
    /// batch leaves the key alone.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.writes.get(key).map(Option::as_deref)
    }

    /// The writes in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// The writes to keys of `range`, in the order of their keys.
    pub(crate) fn range(
        &self,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> + use<'_> {
        let writes = self.writes.range::<[u8], _>(range.bounds());
        writes.map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Adds the writes of `later`, which win over writes to the same keys here.
    pub fn absorb(&mut self, mut later: Self) {
        // `append` rebuilds the whole map; one insertion each is cheaper for a small addition.
        if later.len() > self.len() / 8 {
            self.writes.append(&mut later.writes);
        } else {
            self.writes.extend(later.writes);
        }
    }

    /// How many keys are written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

impl IntoIterator for Batch {
    type Item = (Vec<u8>, Option<Vec<u8>>);
    type IntoIter = btree_map::IntoIter<Vec<u8>, Option<Vec<u8>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.writes.into_iter()
    }
}

/// Shows only the size: values may be secrets.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("writes", &self.len()).finish_non_exhaustive()
    }
}
