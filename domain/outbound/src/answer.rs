//! What a call is answered with.
//!
//! One rule: an answer is read piece by piece, each within its time and all within the limit; who drops it ends the call.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    breaker::Verdict,
    connector::meaning,
    destinations::{Permits, Ticket},
    error::{CallError, Stage},
    record::Recording,
};

/// An answer, of any status. Redirects are answers too: nobody follows them. Shown as its status.
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: AnswerBody,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: AnswerBody) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers. They are the other side's: never show them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body, to be read as it comes: a [`Stream`] of bytes, and an [`http_body::Body`].
    #[must_use]
    pub fn into_body(self) -> AnswerBody {
        self.body
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`CallError::AnswerTooLarge`], [`CallError::TimedOut`], [`CallError::Interrupted`], [`CallError::Protocol`].
    pub async fn bytes(self) -> Result<Bytes, CallError> {
        let mut body = self.body;
        let mut all = BytesMut::new();
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// Those of [`Answer::bytes`]; [`CallError::Unexpected`] when it is not what `T` is read from.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, CallError> {
        serde_json::from_slice(&self.bytes().await?).map_err(|_| CallError::Unexpected)
    }

    /// The answer as `http` describes it, for libraries that bring their own client.
    #[must_use]
    pub fn into_response(self) -> http::Response<AnswerBody> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status.as_u16())
    }
}

/// What a body has to keep to, and what it holds until its end.
pub(crate) struct Reading {
    pub(crate) limit: u64,
    pub(crate) idle: Duration,
    pub(crate) end: Instant,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) _permits: Permits,
    pub(crate) recording: Recording,
}

impl Reading {
    fn failed(mut self, error: &CallError) {
        self.recording.failed(error);
        if let Some(ticket) = self.ticket.take()
            && error.is_failure_of_destination()
        {
            ticket.settle(Verdict::Fails);
        }
    }
}

/// The body of an answer on its way. After an error or the end it gives nothing more; trailers are dropped.
pub struct AnswerBody {
    /// `None` when it is over: the connection is then closed or given back.
    open: Option<Open>,
}

struct Open {
    incoming: Incoming,
    read: u64,
    timer: Pin<Box<Sleep>>,
    reading: Reading,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, reading: Reading) -> Self {
        let timer = Box::pin(sleep_until(reading.end.min(Instant::now() + reading.idle)));
        let open = Open {
            incoming,
            read: 0,
            timer,
            reading,
        };
        Self { open: Some(open) }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(None);
        };
        let next = ready!(open.poll_chunk(context));
        if !matches!(next, Some(Ok(_)))
            && let Some(open) = self.open.take()
            && let Some(Err(error)) = &next
        {
            open.reading.failed(error);
        }
        Poll::Ready(next)
    }
}

impl Open {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        loop {
            let now = Instant::now();
            if now >= self.reading.end {
                return Poll::Ready(Some(Err(CallError::TimedOut(Stage::Total))));
            }
            let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(context) else {
                ready!(self.timer.as_mut().poll(context));
                let total = Instant::now() >= self.reading.end;
                let stage = if total { Stage::Total } else { Stage::Idle };
                return Poll::Ready(Some(Err(CallError::TimedOut(stage))));
            };
            let due = self.reading.end.min(now + self.reading.idle);
            self.timer.as_mut().reset(due);
            match next {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(meaning(&error)))),
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(self.count(chunk)));
                    }
                }
            }
        }
    }

    fn count(&mut self, chunk: Bytes) -> Result<Bytes, CallError> {
        self.read += chunk.len() as u64;
        let limit = self.reading.limit;
        match self.read > limit {
            true => Err(CallError::AnswerTooLarge { limit }),
            false => Ok(chunk),
        }
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(context)
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        self.poll_chunk(context).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.open
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |open| open.incoming.size_hint())
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerBody")
    }
}
