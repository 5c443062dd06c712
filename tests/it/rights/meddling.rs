//! A store beneath which something happens right before the first append, as another process does it.

use std::sync::{Arc, Mutex};

use domain::event_store::{
    Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent, StoreError,
    StreamId, Subscription,
};

/// See the module.
pub(super) struct Meddling {
    store: Arc<dyn EventStore>,
    meddle: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Meddling {
    pub(super) fn before_the_first_append(
        store: Arc<dyn EventStore>,
        meddle: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            store,
            meddle: Mutex::new(Some(Box::pin(meddle))),
        }
    }
}

impl EventStore for Meddling {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let meddle = self.meddle.lock().expect("no panic before").take();
            if let Some(meddle) = meddle {
                meddle.await;
            }
            self.store.append(append).await
        })
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.store.load(stream, revision)
    }

    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        self.store.load_many(streams)
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.store.read_all(after, filter, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.store.head()
    }

    fn known_head(&self) -> Position {
        self.store.known_head()
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        self.store.subscribe(after, filter)
    }
}
