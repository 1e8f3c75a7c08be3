//! A client-side stream that notes when the server was last heard.
//!
//! Servers ping their clients, which the WebSocket layer answers without telling. What it does not tell is
//! seen here: any byte that comes is a sign of life.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// When something last came over a stream.
#[derive(Clone)]
pub(crate) struct LastHeard(Arc<Mutex<Instant>>);

impl LastHeard {
    /// Time since then, or since the stream was opened.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The stream that is listened to.
pub(crate) struct Heard<S> {
    inner: S,
    last: LastHeard,
}

impl<S> Heard<S> {
    /// Wraps a stream that was just opened.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, last: LastHeard(Arc::new(Mutex::new(Instant::now()))) }
    }

    /// Tells when something came, also after the stream was given away.
    pub(crate) fn last(&self) -> LastHeard {
        self.last.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.last.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
