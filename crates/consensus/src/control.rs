//! What every handle of a broadcast may say to the one task behind it, with many guardians or one.

use tokio::sync::watch;

/// The handles' side.
pub(crate) struct Control {
    /// The oldest session that is not signed, as the application says.
    oldest: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    /// Closed when the task has ended.
    ended: watch::Receiver<()>,
}

/// The task's sign of life: dropped when it has ended.
pub(crate) struct Ended {
    _alive: watch::Sender<()>,
}

impl Control {
    pub(crate) fn new(first_session: u64) -> (Self, Ended) {
        let (_alive, ended) = watch::channel(());
        let (oldest, stop) = (watch::Sender::new(first_session), watch::Sender::new(false));
        (Self { oldest, stop, ended }, Ended { _alive })
    }

    /// All sessions before `session` are signed. Ignored if it is not ahead.
    pub(crate) fn jump_to(&self, session: u64) {
        self.oldest.send_if_modified(|oldest| {
            let ahead = session > *oldest;
            *oldest = session.max(*oldest);
            ahead
        });
    }

    pub(crate) fn oldest(&self) -> u64 {
        *self.oldest.borrow()
    }

    pub(crate) fn watch_oldest(&self) -> watch::Receiver<u64> {
        self.oldest.subscribe()
    }

    pub(crate) fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn watch_stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The channel never changes; it closes.
        while ended.changed().await.is_ok() {}
    }
}
