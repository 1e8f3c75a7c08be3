//! Changes over a view, scanned as one.

use std::cmp::Ordering;
use std::iter::Peekable;

use crate::{Entry, Order, Scan, StoreError};

/// Keys with their new values, or `None` where the key is removed.
pub(crate) type Changes<'a> = Box<dyn Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a>;

/// Shows `base` as `changes` leave it. Both must be of the same range, in the same `order`.
pub(crate) fn merged<'a>(base: Scan<'a>, changes: Changes<'a>, order: Order) -> Scan<'a> {
    Box::new(Merge { base: base.peekable(), changes: changes.peekable(), order, failed: false })
}

struct Merge<'a> {
    base: Peekable<Scan<'a>>,
    changes: Peekable<Changes<'a>>,
    order: Order,
    failed: bool,
}

impl Iterator for Merge<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let base_against_change = match (self.base.peek(), self.changes.peek()) {
                (Some(Err(_)), _) => {
                    self.failed = true;
                    Ordering::Less
                }
                (Some(Ok((base, _))), Some((changed, _))) => self.order.compare(base, changed),
                (_, None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            if base_against_change == Ordering::Less {
                return self.base.next();
            }
            if base_against_change == Ordering::Equal {
                self.base.next();
            }
            if let Some((key, Some(value))) = self.changes.next() {
                return Some(Ok((key.to_vec(), value.to_vec())));
            }
        }
        None
    }
}
