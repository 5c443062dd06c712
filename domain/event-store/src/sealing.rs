//! Personal data in the log are sealed under a key per person (AU-7).
//!
//! The rule: nothing above the port sees that it happens. [`SealedEventStore`] stands in front of any adapter;
//! what reaches the adapter, and so the chain, the tree and every backup of the log, is ciphertext. Which
//! leaves of which events are personal is declared at the event types ([`domain::personal`]).
//!
//! A sealed leaf is the text `sealed:1:<person>:<base64>`. One that was recorded before there was sealing is
//! plain and reads as it is. Once the person's key is destroyed, a leaf reads as
//! [`ERASED`](domain::personal::ERASED), and what is written about that person reads so too.

mod error;
mod event;
mod key_file;
mod keys;
mod leaf;
mod subscription;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use domain::{
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
    id::UserId,
};

use self::keys::{Freshness, PersonKey};
pub use self::{
    error::KeysError,
    key_file::examine as examine_key_file,
    keys::{Destroyed, PersonKeys},
};

/// The keys that a stretch of the log needs.
type Keys = HashMap<UserId, PersonKey>;

/// An event store in front of another one, which never sees a personal datum.
#[derive(Clone)]
pub struct SealedEventStore {
    inner: Arc<dyn EventStore>,
    keys: Arc<PersonKeys>,
}

impl SealedEventStore {
    /// Seals what goes into `inner` and opens what comes out, with `keys`.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>, keys: Arc<PersonKeys>) -> Self {
        Self { inner, keys }
    }
}

/// Opens the personal leaves of `events`; the keys of all of them are fetched at once.
async fn open(
    keys: &PersonKeys,
    events: &mut [RecordedEvent],
    freshness: Freshness,
) -> Result<(), StoreError> {
    let mut persons = BTreeSet::new();
    for one in events.iter() {
        event::persons(one, &mut persons)?;
    }
    let found = match persons.is_empty() {
        true => Keys::new(),
        false => keys.for_opening(&persons, freshness).await?,
    };
    events.iter_mut().try_for_each(|one| event::open(one, &found))
}

impl EventStore for SealedEventStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let plan = event::Plan::of(&append);
            if plan.is_empty() {
                return self.inner.append(append).await;
            }
            let keys = self.keys.for_sealing(plan.persons()).await?;
            let sealed = plan.seal(append, &keys)?;
            self.inner.append(sealed).await
        })
    }

    fn keeps_order(&self) -> bool {
        self.inner.keeps_order()
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            let mut events = self.inner.load(stream, revision).await?;
            // A key may be as old as its cache allows: what a decision folds is kept in memory only, and an erased
            // person's state holds nothing personal from the event of the erasure on, which this load includes.
            open(&self.keys, &mut events, Freshness::Cached).await?;
            Ok(events)
        })
    }

    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        Box::pin(async move {
            let mut histories = self.inner.load_many(streams).await?;
            for events in &mut histories {
                open(&self.keys, events, Freshness::Cached).await?;
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
        Box::pin(async move {
            let mut page = self.inner.read_all(after, filter, limit).await?;
            open(&self.keys, &mut page.events, Freshness::Now).await?;
            Ok(page)
        })
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
        Box::new(subscription::Opening::new(
            self.inner.subscribe(after, filter),
            self.keys.clone(),
        ))
    }
}
