//! Views in which a module sees only its own keys.
//!
//! A scope is a prefix that is put before every key on the way down and taken off on the way up.
//! Scopes nest. Two scopes are apart if neither prefix begins with the other, which holds for
//! prefixes made of one encoded instance id behind a common byte.

use std::fmt;

use crate::{KeyRange, Order, Read, Scan, Snapshot, StoreError, Write};

/// A read view of the keys behind a prefix.
pub struct ScopedRead<'a> {
    base: &'a dyn Read,
    prefix: Vec<u8>,
}

impl<'a> ScopedRead<'a> {
    /// Shows the keys of `base` that begin with `prefix`, without it.
    pub fn new(base: &'a dyn Read, prefix: impl Into<Vec<u8>>) -> Self {
        Self { base, prefix: prefix.into() }
    }
}

impl Read for ScopedRead<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_scoped(self.base, &self.prefix, key)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        scan_scoped(self.base, &self.prefix, range, order)
    }
}

/// A read and write view of the keys behind a prefix.
pub struct ScopedWrite<'a> {
    base: &'a mut dyn Write,
    prefix: Vec<u8>,
}

impl<'a> ScopedWrite<'a> {
    /// Shows the keys of `base` that begin with `prefix`, without it, and writes to them.
    pub fn new(base: &'a mut dyn Write, prefix: impl Into<Vec<u8>>) -> Self {
        Self { base, prefix: prefix.into() }
    }
}

impl Read for ScopedWrite<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_scoped(&*self.base, &self.prefix, key)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        scan_scoped(&*self.base, &self.prefix, range, order)
    }
}

impl Write for ScopedWrite<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.base.put(within(&self.prefix, &key), value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.base.delete(&within(&self.prefix, key));
    }
}

/// A snapshot of the keys behind a prefix.
pub(crate) struct ScopedSnapshot {
    base: Snapshot,
    prefix: Vec<u8>,
}

impl ScopedSnapshot {
    pub(crate) fn new(base: Snapshot, prefix: Vec<u8>) -> Self {
        Self { base, prefix }
    }
}

impl Read for ScopedSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get_scoped(&self.base, &self.prefix, key)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Scan<'_> {
        scan_scoped(&self.base, &self.prefix, range, order)
    }
}

impl fmt::Debug for ScopedRead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedRead").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl fmt::Debug for ScopedWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedWrite").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn within(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    [prefix, key].concat()
}

fn get_scoped(base: &dyn Read, prefix: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    base.get(&within(prefix, key))
}

fn scan_scoped<'a>(base: &'a dyn Read, prefix: &[u8], range: KeyRange, order: Order) -> Scan<'a> {
    let length = prefix.len();
    let entries = base.scan(range.scoped(prefix), order);
    Box::new(entries.map(move |entry| entry.map(|(mut key, value)| (key.split_off(length), value))))
}
