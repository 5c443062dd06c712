//! What a directory reads of the log.
//!
//! One rule: it is the log, and nothing is changed on the way.

use std::sync::{Arc, Mutex};

use domain::event_store::{
    Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent, StoreError,
    StreamId, Subscription,
};

/// A log that notes from where it was read with a filter, as a directory does that catches up.
pub(super) struct Reading {
    inner: Arc<dyn EventStore>,
    from: Mutex<Vec<Position>>,
}

impl Reading {
    pub(super) fn of(inner: Arc<dyn EventStore>) -> Arc<Self> {
        let from = Mutex::default();
        Arc::new(Self { inner, from })
    }

    /// The first place in the log that was read from.
    pub(super) fn lowest(&self) -> Option<Position> {
        self.from.lock().expect("whole").iter().min().copied()
    }

    /// Whether the whole log was folded.
    pub(super) fn whole_log(&self) -> bool {
        self.lowest() == Some(Position::START)
    }
}

impl EventStore for Reading {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.inner.append(append)
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.inner.load(stream, revision)
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        if *filter != Filter::all() {
            self.from.lock().expect("whole").push(after);
        }
        self.inner.read_all(after, filter, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn chain_hash(&self, position: Position) -> BoxFuture<'_, Result<Option<[u8; 32]>, StoreError>> {
        self.inner.chain_hash(position)
    }

    fn known_head(&self) -> Position {
        self.inner.known_head()
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        self.inner.subscribe(after, filter)
    }
}
