//! Typed tables: the written byte layout of keys and values.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use moneta_core::codec::{Decode, Encode};

use crate::{Entry, KeyRange, Order, Read, Scan, StoreError, Write};

/// A table: keys of type `K` and values of type `V` under one prefix byte.
///
/// Layout: the key is the prefix byte and the encoding of `K`, the value the encoding of `V`
/// (docs/protocol/core.md, section 1). Rows are ordered by the bytes of their encoded keys: integers by
/// number, tuples and structs by their first field first, strings by length first.
///
/// ```
/// # use moneta_store::{Memory, StoreError, Table, WriteSet};
/// /// Each nonce that was spent.
/// const SPENT: Table<u64, ()> = Table::new(0x01);
///
/// let snapshot = Memory::store().snapshot();
/// let mut writes = WriteSet::new(&snapshot);
/// SPENT.insert(&mut writes, &7, &());
/// assert!(SPENT.contains(&writes, &7)?);
/// # Ok::<(), StoreError>(())
/// ```
pub struct Table<K, V> {
    prefix: u8,
    row: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// Names the table under `prefix`. The prefixes of one scope must differ.
    pub const fn new(prefix: u8) -> Self {
        Self { prefix, row: PhantomData }
    }

    /// The first byte of every key of the table.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The bytes of a key, or of the leading fields of one.
    fn bytes_of<P: Encode>(&self, key: &P) -> Vec<u8> {
        let mut bytes = vec![self.prefix];
        key.encode(&mut bytes);
        bytes
    }
}

impl<K: Encode + Decode, V: Encode + Decode> Table<K, V> {
    /// Returns the value under `key`.
    ///
    /// Errors: `Corrupt` if the stored bytes are no `V`, and those of reading.
    pub fn get(&self, view: &dyn Read, key: &K) -> Result<Option<V>, StoreError> {
        let key = self.bytes_of(key);
        match view.get(&key)? {
            Some(value) => self.decode(&key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a row under `key`. Does not look at its value.
    pub fn contains(&self, view: &dyn Read, key: &K) -> Result<bool, StoreError> {
        Ok(view.get(&self.bytes_of(key))?.is_some())
    }

    /// Sets the value under `key`, replacing any former one.
    pub fn insert(&self, view: &mut dyn Write, key: &K, value: &V) {
        view.put(self.bytes_of(key), value.to_bytes());
    }

    /// Removes the row under `key` if there is one.
    pub fn remove(&self, view: &mut dyn Write, key: &K) {
        view.delete(&self.bytes_of(key));
    }

    /// Returns all rows.
    ///
    /// Errors: an item is `Corrupt` if its bytes are no row, or the error of reading.
    pub fn scan<'a>(&self, view: &'a dyn Read, order: Order) -> TableScan<'a, K, V> {
        self.rows(view, KeyRange::prefix([self.prefix]), order)
    }

    /// Returns the rows whose keys lie in `keys`, by the order of encoded keys.
    ///
    /// Errors: as [`Table::scan`].
    pub fn range<'a>(
        &self,
        view: &'a dyn Read,
        keys: impl RangeBounds<K>,
        order: Order,
    ) -> TableScan<'a, K, V> {
        let start = match keys.start_bound() {
            Bound::Included(key) => self.bytes_of(key),
            Bound::Excluded(key) => just_above(self.bytes_of(key)),
            Bound::Unbounded => vec![self.prefix],
        };
        let end = match keys.end_bound() {
            Bound::Included(key) => Some(just_above(self.bytes_of(key))),
            Bound::Excluded(key) => Some(self.bytes_of(key)),
            Bound::Unbounded => KeyRange::prefix([self.prefix]).end().map(<[u8]>::to_vec),
        };
        let range = match end {
            Some(end) => KeyRange::between(start, end),
            None => KeyRange::starting_at(start),
        };
        self.rows(view, range, order)
    }

    /// Returns the rows whose keys begin with the fields in `leading`, which must be the first
    /// fields of `K`: for keys `(SessionIndex, u64)` the rows of one session.
    ///
    /// Errors: as [`Table::scan`].
    pub fn starting_with<'a, P: Encode>(
        &self,
        view: &'a dyn Read,
        leading: &P,
        order: Order,
    ) -> TableScan<'a, K, V> {
        self.rows(view, KeyRange::prefix(self.bytes_of(leading)), order)
    }

    /// Returns the row with the smallest key.
    ///
    /// Errors: as [`Table::scan`].
    pub fn first(&self, view: &dyn Read) -> Result<Option<(K, V)>, StoreError> {
        self.scan(view, Order::Ascending).next().transpose()
    }

    /// Returns the row with the largest key.
    ///
    /// Errors: as [`Table::scan`].
    pub fn last(&self, view: &dyn Read) -> Result<Option<(K, V)>, StoreError> {
        self.scan(view, Order::Descending).next().transpose()
    }

    /// Returns the largest key that begins with the fields in `leading` (`&()` for any), without
    /// looking at its value.
    ///
    /// Errors: as [`Table::scan`].
    pub fn last_key<P: Encode>(
        &self,
        view: &dyn Read,
        leading: &P,
    ) -> Result<Option<K>, StoreError> {
        let range = KeyRange::prefix(self.bytes_of(leading));
        let Some(entry) = view.scan(range, Order::Descending).next() else { return Ok(None) };
        let (key, _) = entry?;
        let fields = key.get(1..).unwrap_or_default();
        K::from_bytes(fields).map(Some).map_err(|source| self.corrupt(&key, source))
    }

    /// The bytes of a row's key, for callers that watch or compare raw keys.
    pub fn key(&self, key: &K) -> Vec<u8> {
        self.bytes_of(key)
    }

    fn rows<'a>(&self, view: &'a dyn Read, range: KeyRange, order: Order) -> TableScan<'a, K, V> {
        TableScan { table: Self::new(self.prefix), entries: view.scan(range, order), failed: false }
    }

    fn decode_row(&self, (key, value): &Entry) -> Result<(K, V), StoreError> {
        let fields = key.get(1..).unwrap_or_default();
        let decoded = K::from_bytes(fields).map_err(|source| self.corrupt(key, source))?;
        Ok((decoded, self.decode(key, value)?))
    }

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<V, StoreError> {
        V::from_bytes(value).map_err(|source| self.corrupt(key, source))
    }

    fn corrupt(&self, key: &[u8], source: moneta_core::codec::DecodeError) -> StoreError {
        StoreError::Corrupt { table: self.prefix, key: key.to_vec(), source }
    }
}

/// The least byte string above `key`. No other encoded key lies between the two, since no encoding
/// is the beginning of another one.
fn just_above(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("prefix", &self.prefix).finish()
    }
}

/// The rows of a range of a table. The first error is the last item.
pub struct TableScan<'a, K, V> {
    table: Table<K, V>,
    entries: Scan<'a>,
    failed: bool,
}

impl<K: Encode + Decode, V: Encode + Decode> Iterator for TableScan<'_, K, V> {
    type Item = Result<(K, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.entries.next()?.and_then(|entry| self.table.decode_row(&entry));
        self.failed = row.is_err();
        Some(row)
    }
}

impl<K, V> fmt::Debug for TableScan<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableScan").field("table", &self.table).finish_non_exhaustive()
    }
}
