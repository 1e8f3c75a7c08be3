//! An ordered byte store with snapshot reads, one writer, and atomic durable commits.
//!
//! What it is: keys and values are byte strings, keys are ordered as unsigned bytes, and all
//! state of a guardian, a gateway or a wallet lies in one store. What it is not: it knows no
//! protocol, runs no task and never waits for anything but the disk.
//!
//! Invariants:
//! * A [`Snapshot`] never changes, however many commits follow it.
//! * A [`Batch`] is applied whole or not at all, and when [`Store::commit`] returns `Ok` it survives
//!   a crash of process and machine (memory stores excepted).
//! * Commits have one order, and a snapshot taken after a commit returned shows it.
//! * Damage is an error. A damaged store does not open as if it were empty or older than it is; the
//!   one known gap is named in `disk/mod.rs`.
//!
//! Start reading at [`Read`] and [`Write`], the two traits everything else is made of; then
//! [`Backend`], which is all a new database has to offer, and [`Table`], which gives keys and
//! values types. [`WriteSet`] collects writes, nested where a part may have to be undone.
//!
//! The choice of the disk backend is recorded in docs/decisions/0001-store-backend.md, its log in
//! docs/decisions/0017-commit-log.md.

mod backend;
mod batch;
#[cfg(feature = "disk")]
mod disk;
mod error;
mod memory;
mod merge;
mod range;
mod read;
mod scoped;
mod table;
pub mod testing;
mod write_set;

pub use backend::{Backend, Snapshot, Store};
pub use batch::Batch;
#[cfg(feature = "disk")]
pub use disk::Disk;
pub use error::StoreError;
pub use memory::Memory;
pub use range::{KeyRange, Order};
pub use read::{Entry, Read, Scan, Write};
pub use scoped::{ScopedRead, ScopedWrite};
pub use table::{Table, TableScan};
pub use write_set::WriteSet;
