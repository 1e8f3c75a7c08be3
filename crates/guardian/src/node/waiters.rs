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
    /// What is waited for.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_woken(waiter: &mut Waiter) -> bool {
        waiter.woken().now_or_never().is_some()
    }

    #[test]
    fn write_wakes_all_who_wait_for_the_key_and_nobody_else() {
        let waiters = Waiters::default();
        let mut first = waiters.register(vec![1]);
        let mut second = waiters.register(vec![1]);
        let mut other = waiters.register(vec![2]);
        waiters.wake([&[1][..], &[3][..]]);
        assert!(is_woken(&mut first) && is_woken(&mut second));
        assert!(!is_woken(&mut other));
    }

    #[test]
    fn waiter_that_gave_up_is_forgotten() {
        let waiters = Waiters::default();
        let first = waiters.register(vec![1]);
        let mut second = waiters.register(vec![1]);
        drop(first);
        waiters.wake([&[1][..]]);
        assert!(is_woken(&mut second));
        drop(waiters.register(vec![2]));
        let inner = waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(inner.by_key.is_empty());
    }

    #[test]
    fn waiting_again_needs_a_new_write() {
        let waiters = Waiters::default();
        drop(waiters.register(vec![1]));
        waiters.wake([&[1][..]]);
        assert!(!is_woken(&mut waiters.register(vec![1])));
    }
}
