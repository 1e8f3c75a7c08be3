//! An early end that leaves no guardian running.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` until it is done, or until Ctrl-C, SIGTERM or SIGHUP comes: then drops it, which ends the
/// processes it had started, and returns `None`.
///
/// Errors: signals cannot be listened for.
pub async fn until_asked_to_end<T>(work: impl Future<Output = T>) -> Result<Option<T>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::select! {
        result = work => Ok(Some(result)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hangup.recv() => Ok(None),
    }
}
