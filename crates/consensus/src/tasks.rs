//! The tasks AlephBFT spawns, owned so that none outlives its session.

use std::sync::{Arc, Mutex};

use aleph_bft::{SpawnHandle, TaskHandle};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::local::lock;

/// A set of tasks that ends as a whole. Clones are handles to the same set.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    handles: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Adds a task; one added after [`Self::close`] is not run.
    pub(crate) fn add(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut inner = lock(&self.inner);
        if !inner.closed {
            inner.handles.push(tokio::spawn(task));
        }
    }

    /// Stops all tasks at their next await and takes no new ones.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        inner.handles.iter().for_each(JoinHandle::abort);
    }

    /// Stops all tasks and waits until none runs.
    pub(crate) async fn join(&self) {
        self.close();
        let handles = std::mem::take(&mut lock(&self.inner).handles);
        for handle in handles {
            // Aborted, panicked or done: over in any case.
            let _ = handle.await;
        }
    }
}

impl SpawnHandle for Tasks {
    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.add(task);
    }

    fn spawn_essential(
        &self,
        _name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> TaskHandle {
        let (done, ended) = oneshot::channel();
        self.add(async move {
            task.await;
            // Nobody may be waiting any more.
            let _ = done.send(());
        });
        Box::pin(async move { ended.await.map_err(|_| ()) })
    }
}
