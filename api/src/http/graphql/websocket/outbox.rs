//! What waits to be sent on a socket, and how long the peer has been taking none of it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::Sink;
use futures::stream::SplitSink;
use tokio::time::Instant;

/// Messages that wait before the socket's operations have to.
const ROOM: usize = 16;

/// The sending half of a socket with its queue.
pub(super) struct Outbox {
    sink: SplitSink<WebSocket, Message>,
    waiting: VecDeque<Message>,
    /// Something was handed to the sink and may not have left it.
    unflushed: bool,
    /// When the peer last took something, or when there was last nothing to take.
    progress: Instant,
}

impl Outbox {
    pub(super) fn new(sink: SplitSink<WebSocket, Message>) -> Self {
        Self {
            sink,
            waiting: VecDeque::new(),
            unflushed: false,
            progress: Instant::now(),
        }
    }

    /// Whether more should be asked for. The queue takes a few messages beyond that, for answers that
    /// are due at once.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    /// Puts a message at the end of the queue.
    pub(super) fn push(&mut self, message: Message) {
        if self.is_empty() {
            self.progress = Instant::now();
        }
        self.waiting.push_back(message);
    }

    /// Puts a text at the end of the queue.
    pub(super) fn push_text(&mut self, text: String) {
        self.push(Message::Text(text.into()));
    }

    /// How long the peer has taken nothing of what is there for it.
    pub(super) fn stalled_for(&self) -> Duration {
        if self.is_empty() {
            Duration::ZERO
        } else {
            self.progress.elapsed()
        }
    }

    /// Sends until all is sent; waits for ever when there is nothing to send. Cancelling loses nothing.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn send_all(&mut self) -> Result<(), axum::Error> {
        poll_fn(|context| self.poll_send(context)).await
    }

    /// Sends what is left, if anything is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn send_rest(&mut self) -> Result<(), axum::Error> {
        if self.is_empty() {
            Ok(())
        } else {
            self.send_all().await
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        if self.is_empty() {
            return Poll::Pending;
        }
        while !self.waiting.is_empty() {
            ready!(Pin::new(&mut self.sink).poll_ready(context))?;
            if let Some(message) = self.waiting.pop_front() {
                Pin::new(&mut self.sink).start_send(message)?;
                self.unflushed = true;
                self.progress = Instant::now();
            }
        }
        ready!(Pin::new(&mut self.sink).poll_flush(context))?;
        self.unflushed = false;
        self.progress = Instant::now();
        Poll::Ready(Ok(()))
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.unflushed
    }
}
