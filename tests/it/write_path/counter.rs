//! The smallest aggregate that can be wrong, and a store that counts what is loaded of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::{
    aggregate::{Aggregate, encode, event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Expected, Filter, Metadata, Page, Position,
        RecordedEvent, StoreError, StreamId, StreamWrite, Subscription,
    },
    execute::{Command, Context, Decision},
    id::{Ids, SystemIds},
};

/// Says how many there are with it.
#[event(context = "test", subject = nobody)]
#[derive(Clone, Debug)]
pub(super) enum Added {
    /// One more.
    Added {
        /// Its number, from 1.
        count: usize,
    },
}

/// Counts the events of its stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(usize);

/// Another type over the same streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(usize);

/// What both have in common.
pub(super) trait Count: Aggregate<Event = Added> {
    /// How many events were folded.
    fn count(&self) -> usize;
}

macro_rules! counts {
    ($name:ident) => {
        impl Aggregate for $name {
            const CATEGORY: &'static str = "test.counter";
            type Event = Added;

            fn evolve(&mut self, _: &Added) {
                self.0 += 1;
            }
        }

        impl Count for $name {
            fn count(&self) -> usize {
                self.0
            }
        }
    };
}

counts!(Counter);
counts!(Tally);

/// Adds one to a stream.
pub(super) struct Add {
    key: &'static str,
    /// How many there must be; any number if not given.
    expected: Option<usize>,
    checked: Vec<&'static str>,
    read: fn(&mut ReadSet, &str),
    count: fn(&LoadedState, &str) -> usize,
}

impl Add {
    pub(super) fn stream(key: &str) -> StreamId {
        Counter::stream(key)
    }

    /// As an aggregate of type `A`, which must have seen `expected` events.
    pub(super) fn tallying<A: Count>(key: &'static str, expected: usize) -> Self {
        Self {
            key,
            expected: Some(expected),
            checked: Vec::new(),
            read: |reads, key| {
                reads.read::<A>(key);
            },
            count: |loaded, key| loaded.get::<A>(key).count(),
        }
    }

    pub(super) fn after(key: &'static str, expected: usize) -> Self {
        Self::tallying::<Counter>(key, expected)
    }

    pub(super) fn whatever(key: &'static str) -> Self {
        Self {
            expected: None,
            ..Self::after(key, 0)
        }
    }

    /// Looks at these streams too.
    pub(super) fn checking(self, checked: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            checked: checked.into_iter().collect(),
            ..self
        }
    }
}

/// There are more or fewer than there must be.
#[derive(Debug)]
pub(super) struct Miscounted(usize);

impl std::fmt::Display for Miscounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there are {}", self.0)
    }
}

impl std::error::Error for Miscounted {}

impl Command for Add {
    type Refusal = Miscounted;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        (self.read)(reads, self.key);
        for key in &self.checked {
            (self.read)(reads, key);
        }
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::System
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<Miscounted> {
        let count = (self.count)(loaded, self.key);
        if self.expected.is_some_and(|expected| expected != count) {
            return Err(Miscounted(count).into());
        }
        Ok(NewEvents::record::<Counter>(
            self.key,
            &Added::Added { count: count + 1 },
        ))
    }
}

/// Adds `count` events without a decision, as another process would.
pub(super) async fn record(store: &dyn EventStore, key: &str, count: usize) {
    let before = store.load(&Add::stream(key), 0).await.expect("readable").len();
    let numbers: Vec<usize> = (before + 1..=before + count).collect();
    for some in numbers.chunks(1_000) {
        let event = |count: &usize| encode(SystemIds.next(), &Added::Added { count: *count }).expect("JSON");
        let write = StreamWrite {
            stream: Add::stream(key),
            expected: Expected::Any,
            events: some.iter().map(event).collect(),
        };
        let meta = Metadata::default();
        let writes = vec![write];
        store.append(Append { writes, meta }).await.expect("recorded");
    }
}

/// The numbers that were recorded, in order.
pub(super) async fn counts(store: &dyn EventStore, key: &str) -> Vec<usize> {
    let events = store.load(&Add::stream(key), 0).await.expect("readable");
    let number = |event: &RecordedEvent| {
        let Added::Added { count } = domain::aggregate::decode(event).expect("readable");
        count
    };
    events.iter().map(number).collect()
}

/// Counts round trips and loaded events on their way.
pub(super) struct Counting {
    store: Arc<dyn EventStore>,
    trips: AtomicUsize,
    events: AtomicUsize,
}

impl Counting {
    pub(super) fn over(store: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            trips: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
        })
    }

    /// Loads and loaded events since the last call.
    pub(super) fn take(&self) -> (usize, usize) {
        (
            self.trips.swap(0, Ordering::SeqCst),
            self.events.swap(0, Ordering::SeqCst),
        )
    }

    fn count(&self, events: usize) {
        self.trips.fetch_add(1, Ordering::SeqCst);
        self.events.fetch_add(events, Ordering::SeqCst);
    }
}

impl EventStore for Counting {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.store.append(append)
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            let events = self.store.load(stream, revision).await?;
            self.count(events.len());
            Ok(events)
        })
    }

    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        Box::pin(async move {
            let histories = self.store.load_many(streams).await?;
            self.count(histories.iter().map(Vec::len).sum());
            Ok(histories)
        })
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
