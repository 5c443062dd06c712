//! The body of a request.
//!
//! One rule: never more than the limit is sent, and only a body that is in memory can be sent again.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream::BoxStream};
use http_body::{Frame, SizeHint};

use crate::error::CallError;

/// What is sent. Shown as its length.
pub enum Body {
    /// Pieces in memory, sent one after the other; can be sent again.
    Chunks(Vec<Bytes>),
    /// A stream that is sent once; with its length where it is known, else in chunks of HTTP/1.1.
    Stream {
        /// The pieces.
        stream: BoxStream<'static, Result<Bytes, CallError>>,
        /// All of them, in bytes. A stream of another length is an error.
        length: Option<u64>,
    },
}

impl Body {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::Chunks(Vec::new())
    }

    /// A stream. An error of it ends the call with [`CallError::Request`].
    pub fn stream<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    {
        let stream = stream.map_err(|_| CallError::Request("its body could not be read"));
        Self::Stream {
            stream: Box::pin(stream),
            length,
        }
    }

    /// Its length in bytes, where that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Chunks(chunks) => Some(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Self::Stream { length, .. } => *length,
        }
    }

    pub(crate) fn can_be_sent_again(&self) -> bool {
        matches!(self, Self::Chunks(_))
    }

    /// What to send now: a copy of what is in memory, or the stream, which is then gone.
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::Chunks(chunks) => Self::Chunks(chunks.clone()),
            Self::Stream { .. } => std::mem::replace(self, Self::empty()),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Chunks(vec![bytes])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            Some(length) => write!(f, "Body({length} bytes)"),
            None => f.write_str("Body(a stream)"),
        }
    }
}

enum Source {
    Chunks(VecDeque<Bytes>),
    Stream(BoxStream<'static, Result<Bytes, CallError>>),
}

/// A body on its way, counted.
pub(crate) struct Outgoing {
    source: Source,
    length: Option<u64>,
    sent: u64,
    limit: u64,
    progress: Arc<AtomicU64>,
}

impl Outgoing {
    /// The body, of which at most `limit` bytes are sent; `progress` counts the pieces that the connection took.
    pub(crate) fn new(body: Body, limit: u64, progress: Arc<AtomicU64>) -> Self {
        let length = body.length();
        let source = match body {
            Body::Chunks(chunks) => {
                Source::Chunks(chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect())
            }
            Body::Stream { stream, .. } => Source::Stream(stream),
        };
        Self {
            source,
            length,
            sent: 0,
            limit,
            progress,
        }
    }

    /// The piece, unless it is one too many.
    fn count(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, CallError> {
        self.sent += chunk.len() as u64;
        self.progress.fetch_add(1, Ordering::Relaxed);
        if self.sent > self.limit {
            return Err(CallError::RequestTooLarge { limit: self.limit });
        }
        match self.length.is_some_and(|length| self.sent > length) {
            true => Err(CallError::Request("its body is longer than was said")),
            false => Ok(Frame::data(chunk)),
        }
    }

    fn end(&self) -> Option<Result<Frame<Bytes>, CallError>> {
        let short = self.length.is_some_and(|length| self.sent < length);
        short.then_some(Err(CallError::Request("its body is shorter than was said")))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let next = match &mut self.source {
            Source::Chunks(chunks) => chunks.pop_front().map(Ok),
            Source::Stream(stream) => match stream.as_mut().poll_next(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(match next {
            Some(Ok(chunk)) => Some(self.count(chunk)),
            Some(Err(error)) => Some(Err(error)),
            None => self.end(),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Chunks(chunks) if chunks.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => SizeHint::new(),
        }
    }
}
