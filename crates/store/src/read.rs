//! The two traits of access: reading a view, and writing to one.

use crate::{KeyRange, Order, StoreError};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The entries of a range, one after the other. The first error is the last item: entries behind
/// an unreadable one are not shown, since a caller could mistake them for the whole.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>;

/// A consistent view of keys and values.
pub trait Read {
    /// Returns the value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the entries of `range`, each key once, in the order of their keys.
    ///
    /// Reads as it is pulled: taking the first entry of a long range is cheap.
    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_>;
}

/// A view that takes writes and shows them at once.
///
/// Writing cannot fail, since nothing reaches a disk before a commit.
pub trait Write: Read {
    /// Sets the value under `key`, replacing any former one.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes `key` if it is there.
    fn delete(&mut self, key: &[u8]);
}
