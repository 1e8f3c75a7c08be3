//! What all sessions of one guardian share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    broadcast::Links,
    keys::Keyring,
    pacing::{Credits, Pacing},
    queue::{Place, Queue},
    status::Latencies,
};

/// State and settings beyond a single session. Locks are held briefly and never across an await;
/// a session's own lock is taken before one of these, never after.
pub(crate) struct Local {
    pub(crate) keyring: Keyring,
    pub(crate) pacing: Pacing,
    pub(crate) links: Arc<dyn Links>,
    queue: Mutex<Queue>,
    credits: Mutex<Credits>,
    latencies: Mutex<Latencies>,
    fault: watch::Sender<Option<String>>,
}

impl Local {
    pub(crate) fn new(keyring: Keyring, pacing: Pacing, links: Arc<dyn Links>) -> Self {
        let credits = Credits::new(pacing.refusal_credit, keyring.0.total(), Instant::now());
        Self {
            queue: Mutex::new(Queue::new(pacing.queue_items, pacing.queue_bytes)),
            credits: Mutex::new(credits),
            latencies: Mutex::default(),
            fault: watch::Sender::new(None),
            keyring,
            pacing,
            links,
        }
    }

    pub(crate) fn me(&self) -> usize {
        self.keyring.0.me()
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(crate) fn credits(&self) -> MutexGuard<'_, Credits> {
        lock(&self.credits)
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Latencies> {
        lock(&self.latencies)
    }

    /// Settles an ordered batch of ours: its items leave the queue.
    pub(crate) fn settle(&self, session: u64, items: &[Vec<u8>]) {
        let settled = self.queue().ordered(session, items, Instant::now());
        self.record(settled);
    }

    /// Settles an ordered batch of a peer: items of ours that were left to it leave the queue.
    pub(crate) fn settle_relayed(&self, place: Place, items: &[Vec<u8>]) {
        let settled = self.queue().peer_ordered(place, items, Instant::now());
        self.record(settled);
    }

    fn record(&self, settled: Vec<Duration>) {
        let mut latencies = self.latencies();
        settled.into_iter().for_each(|latency| latencies.record(latency));
    }

    /// Something happened after which it is not safe to go on: the broadcast stops. Only the
    /// first such report is kept.
    pub(crate) fn fail(&self, what: String) {
        tracing::error!(target: "moneta::consensus", fault = %what, "the broadcast stops");
        self.fault.send_if_modified(|fault| {
            let first = fault.is_none();
            fault.get_or_insert(what);
            first
        });
    }

    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Waits until [`Self::fail`] was called. Cancellation safe.
    pub(crate) async fn failed(&self) {
        let mut fault = self.fault.subscribe();
        // An error is impossible while `self` holds the sender.
        let _ = fault.wait_for(Option::is_some).await;
    }
}

/// Locks, also after a panic elsewhere: what the locks here guard is consistent between calls.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
