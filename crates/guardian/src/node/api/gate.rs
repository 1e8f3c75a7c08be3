//! Costly work that anybody may ask for: a few at a time, beside the runtime.
//!
//! Callers beyond that wait their turn; the limits of the API bound them. Consensus shares the
//! processors with them, so they never get all, and never a thread that it runs on.

use tokio::sync::Semaphore;

/// How many of one kind of work run at the same time.
pub(super) struct Gate(Semaphore);

impl Gate {
    /// Lets `permits` through at once.
    pub(super) fn new(permits: usize) -> Self {
        Self(Semaphore::new(permits))
    }

    /// Lets through as many as half the processors, at least one.
    pub(super) fn half_the_processors() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(processors.div_ceil(2))
    }

    /// Does the work when it is its turn; other tasks go on meanwhile. Cancellation safe: what has
    /// not begun never does.
    pub(super) async fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _permit = self.0.acquire().await.expect("the gate is never closed");
        tokio::task::block_in_place(work)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_waits_for_its_turn_and_keeps_nobody_else_waiting() {
        let gate = Arc::new(Gate::new(1));
        let running = Arc::new(AtomicUsize::new(0));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (gate, running, wait) = (gate.clone(), running.clone(), wait.clone());
            tasks.spawn(async move {
                let work = || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    wait.lock().unwrap().recv().unwrap();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                gate.run(work).await;
            });
        }
        // On the same only thread; without the gate, the first would keep it.
        tasks.spawn(async move { (0..8).for_each(|_| go.send(()).unwrap()) });
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}
