//! A server-side stream that pushes back on clients which do not read, and can be cut.
//!
//! The WebSocket layer starts a task per request and never stops reading by itself, so a client that
//! sends requests and reads no answers would grow our memory without bound. [`Gated`] stops reading
//! while a write is blocked, fails a write that is blocked for too long, and fails everything once the
//! connection is cut at shutdown.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt, task::AtomicWaker};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

/// Cuts one connection from outside.
#[derive(Default)]
pub(crate) struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    /// Makes every pending and later read and write of the stream fail.
    pub(crate) fn cut(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    fn is_cut(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

/// The accepted TCP stream with the three rules of the module text.
pub(crate) struct Gated {
    inner: TcpStream,
    cut: Arc<Cut>,
    write_blocked: bool,
    /// Runs while a write is blocked, which is rare: most connections wait and need no timer.
    write_deadline: Option<Pin<Box<Sleep>>>,
    write_patience: Duration,
}

impl Gated {
    /// Wraps `inner`; a write without any progress for `write_patience` fails the connection.
    pub(crate) fn new(inner: TcpStream, cut: Arc<Cut>, write_patience: Duration) -> Self {
        Self { inner, cut, write_blocked: false, write_deadline: None, write_patience }
    }

    /// Notes whether the last write found room, and fails once it has waited too long.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            // The reader waits for this only while a write was blocked; else waking it is work for nothing.
            if std::mem::take(&mut self.write_blocked) {
                self.write_deadline = None;
                self.cut.reader.wake();
            }
            return result;
        }
        self.write_blocked = true;
        let patience = self.write_patience;
        let deadline =
            self.write_deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(deadline.poll_unpin(cx));
        self.cut.cut();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "client does not read")))
    }
}

fn cut_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "server is shutting down")
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.reader.register(cx.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        if self.write_blocked {
            // Woken by the write that gets through, or by the cut.
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cut.writer.register(cx.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.after_write(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.cut.writer.register(cx.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.after_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
