//! Writes that are not committed yet, over the view they were decided on.

use std::fmt;

use crate::merge::{Changes, merged};
use crate::{Batch, KeyRange, Order, Read, Scan, StoreError, Write};

/// Writes over a base view. Reads show the writes merged with the base, which is never touched.
///
/// Where a part may have to be undone alone (one transaction of many), do it in a child:
/// ```
/// # use moneta_store::{Memory, Read, StoreError, Write, WriteSet};
/// # let snapshot = Memory::store().snapshot();
/// let mut unit = WriteSet::new(&snapshot);
/// let mut transaction = unit.child();
/// transaction.put(vec![1], vec![2]);
/// let accepted = transaction.into_batch(); // drop the child instead to refuse it
/// unit.absorb(accepted);
/// assert_eq!(unit.get(&[1])?, Some(vec![2]));
/// # Ok::<(), StoreError>(())
/// ```
pub struct WriteSet<'a> {
    base: &'a dyn Read,
    writes: Batch,
}

impl<'a> WriteSet<'a> {
    /// No writes over `base`.
    pub fn new(base: &'a dyn Read) -> Self {
        Self { base, writes: Batch::new() }
    }

    /// The writes of `batch` over `base`, to go on where an earlier set ended.
    pub fn resume(base: &'a dyn Read, batch: Batch) -> Self {
        Self { base, writes: batch }
    }

    /// An empty write set over this one.
    pub fn child(&self) -> WriteSet<'_> {
        WriteSet::new(self)
    }

    /// Adds the writes of a child, which win over earlier writes to the same keys.
    pub fn absorb(&mut self, child: Batch) {
        self.writes.absorb(child);
    }

    /// The writes, to be committed or absorbed. A removal is kept even if the base has no such key.
    pub fn into_batch(self) -> Batch {
        self.writes
    }

    /// The keys written or removed so far, in ascending order.
    pub fn written_keys(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.writes.iter().map(|(key, _)| key)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

impl Read for WriteSet<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.map(<[u8]>::to_vec)),
            None => self.base.get(key),
        }
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        let own = self.writes.range(&range);
        let own: Changes<'_> = match order {
            Order::Ascending => Box::new(own),
            Order::Descending => Box::new(own.rev()),
        };
        merged(self.base.scan(range, order), own, order)
    }
}

impl Write for WriteSet<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.writes.delete(key);
    }
}

impl fmt::Debug for WriteSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteSet").field("writes", &self.writes).finish_non_exhaustive()
    }
}
