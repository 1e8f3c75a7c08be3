//! The driver in its task: polls it, makes its calls, hands out its events.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moneta_store::StoreError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::{Transport, now};
use crate::driver::{Driver, Request, RequestId};
use crate::history::Event;
use crate::query::CallFailure;

/// Events kept for a listener that is slow; one that falls further behind misses some and can read
/// them in the history.
const EVENT_BACKLOG: usize = 1024;

/// What the handle and the driver task have in common.
pub(super) struct Shared {
    /// Absent once the client was shut down: nothing holds the store any more then.
    driver: Mutex<Option<Driver>>,
    /// Has the driver task look again.
    pub(super) wake: Notify,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) stopped: watch::Sender<Stopped>,
}

/// Whether the driver task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    Running,
    /// It was asked to.
    Asked,
    /// It ended by itself, for this reason. The wallet has to be opened again.
    Failed(String),
}

impl Shared {
    pub(super) fn new(driver: Driver) -> Arc<Self> {
        Arc::new(Self {
            driver: Mutex::new(Some(driver)),
            wake: Notify::new(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            stopped: watch::Sender::new(Stopped::Running),
        })
    }

    /// A panic in a module leaves the store as of the last commit and at worst a machine that waits
    /// until the next start, so the driver may go on.
    pub(super) fn driver(&self) -> MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one look of the driver task brought.
struct Look {
    requests: Vec<Request>,
    abandoned: Vec<RequestId>,
    events: Vec<Event>,
    pause: Option<Duration>,
}

type Answer = (RequestId, Result<serde_json::Value, CallFailure>);

fn look(driver: &mut Driver, answers: Vec<Answer>) -> Result<Look, StoreError> {
    for (id, result) in answers {
        driver.on_response(id, result, now());
    }
    let requests = driver.poll(now())?;
    let wakeup = driver.next_wakeup();
    let pause = wakeup.map(|time| Duration::from_millis(time.0.saturating_sub(now().0)));
    let (abandoned, events) = (driver.take_abandoned(), driver.take_events());
    Ok(Look { requests, abandoned, events, pause })
}

/// The driver task: the only one that polls. Ends when it is asked to, or when the store fails; those
/// who wait learn of it whichever way it ends.
pub(super) async fn drive(
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    stopping: watch::Receiver<bool>,
) {
    let mut end = Ending { shared: &shared, state: Stopped::Failed("its task broke".to_owned()) };
    end.state = run(&shared, transport, stopping).await;
}

/// Tells how the driver task ended when it does, by a panic as well.
struct Ending<'a> {
    shared: &'a Shared,
    state: Stopped,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.stopped.send_replace(self.state.clone());
    }
}

async fn run(
    shared: &Arc<Shared>,
    transport: Arc<dyn Transport>,
    mut stopping: watch::Receiver<bool>,
) -> Stopped {
    let mut calls = Calls::default();
    let mut answers = Vec::new();
    loop {
        let batch = std::mem::take(&mut answers);
        let driving = shared.clone();
        let looked = unwound(move || driving.driver().as_mut().map(|driver| look(driver, batch)));
        let Look { requests, abandoned, events, pause } = match looked.await {
            Ok(None) => return Stopped::Asked,
            Ok(Some(Ok(look))) => look,
            Ok(Some(Err(error))) => {
                tracing::error!(target: "moneta::client", %error, "the store failed");
                return Stopped::Failed(error.to_string());
            }
            // Whoever panicked is not on the agenda any more and rests until the next start; the
            // others go on. So every round of this ends with one less.
            Err(_) => {
                tracing::error!(target: "moneta::client", "a module panicked; its machine rests");
                continue;
            }
        };
        for event in events {
            // Nobody listening is fine.
            let _ = shared.events.send(event);
        }
        calls.give_up(abandoned);
        requests.into_iter().for_each(|request| calls.make(&*transport, request));
        tokio::select! {
            stopped = stopping.wait_for(|stop| *stop) => {
                // An error means that the client was dropped.
                drop(stopped);
                return Stopped::Asked;
            }
            answer = calls.next() => {
                answers.push(answer);
                answers.extend(calls.more());
            }
            () = shared.wake.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The calls that are out. Their number is bounded by the driver's machines times the guardians,
/// what leaves at once by the transport. They end with this value.
#[derive(Default)]
struct Calls {
    running: JoinSet<Result<serde_json::Value, CallFailure>>,
    ids: HashMap<Id, RequestId>,
    handles: HashMap<RequestId, AbortHandle>,
}

impl Calls {
    fn make(&mut self, transport: &dyn Transport, request: Request) {
        let Request { id, peer, method, params } = request;
        let handle = self.running.spawn(transport.call(peer, method.to_string(), params));
        self.ids.insert(handle.id(), id);
        self.handles.insert(id, handle);
    }

    fn give_up(&mut self, ids: Vec<RequestId>) {
        ids.iter().filter_map(|id| self.handles.remove(id)).for_each(|handle| handle.abort());
    }

    /// Waits for the next answer. Cancel safe.
    async fn next(&mut self) -> Answer {
        loop {
            match self.running.join_next_with_id().await {
                Some(joined) => {
                    if let Some(answer) = self.answer(joined) {
                        return answer;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// The answers that are here already.
    fn more(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(joined) = self.running.try_join_next_with_id() {
            answers.extend(self.answer(joined));
        }
        answers
    }

    fn answer(
        &mut self,
        joined: Result<(Id, Result<serde_json::Value, CallFailure>), JoinError>,
    ) -> Option<Answer> {
        let (task, result) = match joined {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(CallFailure::unavailable("the call broke"))),
        };
        let id = self.ids.remove(&task)?;
        // Absent if the call was given up.
        self.handles.remove(&id).map(|_| (id, result))
    }
}

/// Runs what blocks on the disk where it may.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    unwound(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Like [`blocking`], but returns a panic.
async fn unwound<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<dyn Any + Send>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panic),
            // The runtime is going down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
