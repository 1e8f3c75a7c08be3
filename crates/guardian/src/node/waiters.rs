//! Callers that wait for a key of the store to be written.
//!
//! A waiter registers first and looks at the store afterwards, so that no write can slip between.
//! The number of waiters is bounded by the number of API calls in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// All waiting callers, by key.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next_id: u64,
    by_key: HashMap<Vec<u8>, Vec<(u64, oneshot::Sender<()>)>>,
}

/// One waiting caller; dropping it stops waiting.
pub(crate) struct Waiter {
    waiters: Waiters,
    key: Vec<u8>,
    id: u64,
    woken: oneshot::Receiver<()>,
}

impl Waiters {
    /// Starts waiting for `key`.
    pub(crate) fn register(&self, key: Vec<u8>) -> Waiter {
        let (wake, woken) = oneshot::channel();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = inner.next_id;
        inner.next_id += 1;
        inner.by_key.entry(key.clone()).or_default().push((id, wake));
        drop(inner);
        Waiter { waiters: self.clone(), key, id, woken }
    }

    /// Whether anybody waits at all; saves gathering keys when nobody does.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_key.is_empty()
    }

    /// Wakes whoever waits for one of `keys`.
    pub(crate) fn wake<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.by_key.is_empty() {
            return;
        }
        for key in keys {
            for (_, wake) in inner.by_key.remove(key).into_iter().flatten() {
                // The caller may have gone away; then nobody needs waking.
                let _ = wake.send(());
            }
        }
    }
}

impl Waiter {
    /// Waits until the key is written.
    pub(crate) async fn woken(&mut self) {
        // An error means that the sender was dropped, which only `wake` does.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = inner.by_key.get_mut(&self.key) {
            waiting.retain(|(id, _)| *id != self.id);
            if waiting.is_empty() {
                inner.by_key.remove(&self.key);
            }
        }
    }
}
