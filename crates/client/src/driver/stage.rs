//! What turns have decided and no commit holds yet.
//!
//! A commit costs two syncs of the disk, some milliseconds, and a payment is waited for. So the turns
//! of one [`super::Driver::poll`] are committed together before it returns the calls they led to,
//! and whoever reads in between reads through what is staged.
//!
//! A transaction's acceptance that nobody waits for decides nothing any more; it is staged with a
//! little time, in which the turn that takes the transaction's notes mostly comes along. A crash before
//! the commit forgets it, and the guardians confirm it again.

use moneta_module::client::Timestamp;
use moneta_store::{Batch, Read, WriteSet};

use crate::history::Event;

/// Writes staged at most: what is staged is copied for every turn.
const MAX_STAGED_WRITES: usize = 256;

/// Writes and events of turns that are over, until they are committed.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) batch: Batch,
    pub(crate) events: Vec<Event>,
    /// When they are to be committed.
    commit_by: Option<Timestamp>,
}

impl Stage {
    /// Adds what a turn decided, to be committed by a time.
    pub(crate) fn add(&mut self, batch: Batch, events: Vec<Event>, by: Timestamp) {
        self.batch.absorb(batch);
        self.events.extend(events);
        self.commit_by = Some(self.commit_by.map_or(by, |earlier| earlier.min(by)));
    }

    /// The store as it will be once this is committed.
    pub(crate) fn over<'a>(&self, view: &'a dyn Read) -> WriteSet<'a> {
        WriteSet::resume(view, self.batch.clone())
    }

    /// When it is to be committed; `None` if there is nothing.
    pub(crate) fn commit_by(&self) -> Option<Timestamp> {
        self.commit_by
    }

    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= MAX_STAGED_WRITES
    }
}
