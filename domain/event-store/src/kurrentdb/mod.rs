//! The event log in KurrentDB 26.1 or newer, a single node or a cluster.
//!
//! The rule: the server's leader decides, and what it does not promise by itself is written so that it must:
//! exact revisions, and a receipt for every event id (see `recorded`). All calls speak the server's gRPC protocols
//! by hand: the official client has no append to several streams, spins when a server ends a subscription in order,
//! and would be needed for reads alone (`ops/adr/0022`). It is a witness in the tests instead.
//!
//! What differs from PostgreSQL: positions have gaps; times are the leader's clock, so they may run backwards
//! when a cluster changes its leader and clocks differ, and each record has its own, so the events of one append
//! may differ by microseconds (the answer has that of the last); there is no hash chain (`anneal audit verify` says so).
//! Persistent subscriptions are not used: they do not keep the order, and nothing here needs them. The cluster
//! is Anneal's own: an event that another program writes counts as damage.

mod address;
mod append;
mod checks;
mod failure;
mod known;
mod last_event;
mod nodes;
mod reader;
mod reading;
mod recorded;
mod subscription;
pub mod wire;
mod wire_read;

use std::{sync::Arc, time::Duration};

use domain::event_store::{
    Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent, StoreError,
    StreamId, Subscription,
};
use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::Instant,
};

pub use self::{
    address::{Address, AddressError, SCHEMES, is_kurrentdb},
    checks::StartError,
};
use self::{
    append::Appender,
    failure::{Backoff, Failure},
    known::KnownHead,
    nodes::Nodes,
    reader::passes_all,
    reading::Reading,
    subscription::KurrentSubscription,
    wire::SupportedMethods,
};
use crate::prepared::{MAX_APPEND, Prepared};

/// Streams that are loaded at a time.
const LOADS: usize = 16;

/// Sizes and deadlines of one process's event store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Appends that may be under way; one more is [`AppendError::Overloaded`].
    pub queue_appends: usize,
    /// Bytes that may be under way, payloads and names; at least [`MAX_APPEND`].
    pub queue_bytes: usize,
    /// How long a caller of `append` waits at most, with all tries.
    pub append_limit: Duration,
    /// How long one call may take; `defaultDeadline` of the address goes before it.
    pub call_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_appends: 4_096,
            queue_bytes: 64 << 20,
            append_limit: Duration::from_secs(15),
            call_limit: Duration::from_secs(5),
        }
    }
}

/// The adapter. Cheap to share; [`KurrentEventStore::close`] ends it in order.
pub struct KurrentEventStore {
    nodes: Arc<Nodes>,
    reading: Arc<Reading>,
    appender: Appender,
    room: Semaphore,
    places: Semaphore,
    all_places: u32,
    settings: Settings,
    head: KnownHead,
    closed: watch::Sender<bool>,
    watcher: AbortHandle,
}

impl std::fmt::Debug for KurrentEventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KurrentEventStore")
            .field("known_head", &self.head.get())
            .finish_non_exhaustive()
    }
}

impl KurrentEventStore {
    /// Connects and checks the server: that it answers and is new enough, lets us read and write, leads or
    /// knows who does, and keeps what it has. Nothing is written.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub async fn start(address: Address, settings: Settings) -> Result<Arc<Self>, StartError> {
        let mut settings = settings;
        settings.call_limit = address.deadline().unwrap_or(settings.call_limit);
        let nodes = Arc::new(Nodes::new(&address)?);
        if !address.options.without_effect.is_empty() {
            let options = address.options.without_effect.join(", ");
            tracing::warn!(
                options,
                "these options of the KurrentDB address have no effect here"
            );
        }
        let reading = Arc::new(Reading {
            nodes: Arc::clone(&nodes),
            limit: settings.call_limit,
        });
        let head = KnownHead::default();
        let bytes = settings.queue_bytes.clamp(MAX_APPEND, Semaphore::MAX_PERMITS);
        let all_places = u32::try_from(settings.queue_appends.max(1)).unwrap_or(u32::MAX);
        let store = Self {
            appender: Appender {
                nodes: Arc::clone(&nodes),
                reading: Arc::clone(&reading),
                limit: settings.call_limit,
                turns: tokio::sync::Mutex::default(),
            },
            room: Semaphore::new(bytes),
            places: Semaphore::new(all_places as usize),
            all_places,
            watcher: tokio::spawn(known::watch(head.clone(), Arc::clone(&reading))).abort_handle(),
            closed: watch::Sender::new(false),
            nodes,
            reading,
            settings,
            head,
        };
        store.head.advance(store.check().await?.0);
        Ok(Arc::new(store))
    }

    /// Takes no further appends, waits for those under way; later calls fail as unavailable. Returns whether
    /// everything under way was answered within `limit`. Calling it again does nothing.
    pub async fn close(&self, limit: Duration) -> bool {
        let again = self.closed.send_replace(true);
        self.watcher.abort();
        if again {
            return true;
        }
        let answered = tokio::time::timeout(limit, self.places.acquire_many(self.all_places)).await;
        self.places.close();
        answered.is_ok()
    }

    async fn features(&self) -> Result<SupportedMethods, Failure> {
        self.patiently(|| self.nodes.features(self.settings.call_limit))
            .await
    }

    async fn probe(&self) -> Result<(), Failure> {
        self.patiently(|| self.appender.probe()).await
    }

    /// Tries `call` until it succeeds, fails for good, or the time of an append is over.
    async fn patiently<T, C>(&self, mut call: impl FnMut() -> C) -> Result<T, Failure>
    where
        C: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        loop {
            match call().await {
                Err(failure) if failure.passes() && begun.elapsed() < self.settings.call_limit => {
                    backoff.pause().await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn record(&self, append: Append) -> Result<Appended, AppendError> {
        let prepared = Prepared::new(append)?;
        append::fits(&prepared)?;
        let bytes = u32::try_from(prepared.bytes).map_err(|_| AppendError::Overloaded)?;
        if *self.closed.borrow() {
            return Err(is_closed().into());
        }
        let _place = self.places.try_acquire().map_err(|_| AppendError::Overloaded)?;
        let _room = self
            .room
            .try_acquire_many(bytes)
            .map_err(|_| AppendError::Overloaded)?;
        let mut why = "no answer came".to_owned();
        let recorded = self.appender.record(&prepared, &mut why);
        match tokio::time::timeout(self.settings.append_limit, recorded).await {
            Ok(answer) => answer.inspect(|landed| self.head.advance(landed.position.0)),
            Err(_) => Err(StoreError::Unavailable(format!("it did not answer in time: {why}")).into()),
        }
    }

    fn subscription(&self, after: Position, filter: Filter, placed: bool) -> KurrentSubscription {
        KurrentSubscription {
            nodes: Arc::clone(&self.nodes),
            reading: Arc::clone(&self.reading),
            head: self.head.clone(),
            closed: self.closed.subscribe(),
            after,
            filter,
            placed,
            followed: None,
        }
    }

    async fn page(&self, after: Position, filter: &Filter, limit: usize) -> Result<Page, StoreError> {
        self.open()?;
        // No log reaches further than i64::MAX.
        if i64::try_from(after.0).is_err() {
            return Ok(Page {
                events: Vec::new(),
                next: after,
            });
        }
        match passes_all(filter) {
            true => self.reading.page(after, limit).await,
            false => self.subscription(after, filter.clone(), true).page(limit).await,
        }
    }

    fn open(&self) -> Result<(), StoreError> {
        match *self.closed.borrow() {
            true => Err(is_closed()),
            false => Ok(()),
        }
    }
}

fn is_closed() -> StoreError {
    StoreError::Unavailable("the event store is closed".to_owned())
}

impl Drop for KurrentEventStore {
    fn drop(&mut self) {
        self.watcher.abort();
        self.closed.send_replace(true);
    }
}

impl EventStore for KurrentEventStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let started = Instant::now();
            let outcome = self.record(append).await;
            let outcome_label = match &outcome {
                Ok(_) => "recorded",
                Err(AppendError::Conflict { .. }) => "conflict",
                Err(AppendError::Overloaded) => "overloaded",
                Err(AppendError::IdReused { .. } | AppendError::Malformed(_)) => "refused",
                Err(AppendError::Store(_)) => "failed",
            };
            metrics::histogram!("event_store_append_seconds", "outcome" => outcome_label)
                .record(started.elapsed().as_secs_f64());
            outcome
        })
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            self.open()?;
            self.reading.load(stream, revision).await
        })
    }

    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        Box::pin(async move {
            self.open()?;
            let mut histories = Vec::with_capacity(streams.len());
            for some in streams.chunks(LOADS) {
                let mut loads = Vec::with_capacity(some.len());
                for (stream, revision) in some {
                    loads.push(self.reading.load(stream, *revision));
                }
                histories.extend(futures::future::try_join_all(loads).await?);
            }
            Ok(histories)
        })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.page(after, filter, limit))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            self.open()?;
            let position = self.reading.head().await.map_err(Failure::into_store)?;
            self.head.advance(position.0);
            Ok(position)
        })
    }

    fn known_head(&self) -> Position {
        Position(self.head.get())
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        Box::new(self.subscription(after, filter, false))
    }
}
