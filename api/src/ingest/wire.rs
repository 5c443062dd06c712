//! The bytes of an upload as they come in, before anything is decompressed.
//!
//! One rule: what goes wrong here is marked, so that it is never taken for an error of the decoder.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Counts what comes in.
#[derive(Debug)]
pub(super) struct Wire {
    bytes: AtomicU64,
    limit: u64,
}

impl Wire {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            limit,
        }
    }

    /// Bytes that came in so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The sender's stream failed, as opposed to the decoder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SenderFailed(String);

/// More came in than may.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes came in")]
pub(super) struct WireFull {
    /// How many may.
    pub(super) limit: u64,
}

/// Passes bytes on, counts them, and marks errors as the sender's.
pub(super) struct Metered<R> {
    inner: R,
    wire: Arc<Wire>,
}

impl<R> Metered<R> {
    /// Counts on `wire` what is read from `inner`.
    pub(super) const fn new(inner: R, wire: Arc<Wire>) -> Self {
        Self { inner, wire }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, out))
            .map_err(|error| io::Error::other(SenderFailed(error.to_string())))?;
        let read = (out.filled().len() - before) as u64;
        let total = this.wire.bytes.fetch_add(read, Ordering::Relaxed) + read;
        if total > this.wire.limit {
            return Poll::Ready(Err(io::Error::other(WireFull {
                limit: this.wire.limit,
            })));
        }
        Poll::Ready(Ok(()))
    }
}
