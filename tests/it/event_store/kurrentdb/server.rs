//! A real server that others have written to before: the part of its log that one test makes looks like a log of
//! its own.
//!
//! The rule: nothing is changed but names of streams and what lies before the test began.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use domain::{
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
    id::{Ids, SystemIds},
};
use event_store::{
    kurrentdb::{Address, KurrentEventStore},
    postgres::MAX_NAME,
};

use super::{super::Stores, settings};

/// Two stores on the server that `ANNEAL_TEST_KURRENTDB` names.
pub(crate) async fn kurrentdb_server() -> Stores {
    let url = std::env::var("ANNEAL_TEST_KURRENTDB").expect("ANNEAL_TEST_KURRENTDB names a server");
    let open = || async {
        let address = Address::parse(&url).expect("an address");
        let store = KurrentEventStore::start(address, settings()).await;
        store.expect("the store starts")
    };
    let (first, second) = (open().await, open().await);
    let base = first.head().await.expect("readable");
    let id = SystemIds.next().simple().to_string();
    let part = Arc::new(Part {
        prefix: format!("r{}.", &id[20..]),
        base,
        names: Mutex::default(),
    });
    let own = |store| {
        let part = Arc::clone(&part);
        Arc::new(Own { store, part })
    };
    Stores {
        first: own(first),
        second: own(second),
        _log: Box::new(()),
    }
}

struct Part {
    prefix: String,
    base: Position,
    /// What streams are called in the test, by what they are called on the server.
    names: Mutex<HashMap<String, String>>,
}

impl Part {
    fn there(&self, stream: &StreamId) -> StreamId {
        let name = stream.as_str();
        let mut renamed = format!("{}{name}", self.prefix);
        if name.len() <= MAX_NAME {
            // As long as it may be stays as long as it may be; the beginning tells such names apart.
            while renamed.len() > MAX_NAME {
                renamed.pop();
            }
        }
        let mut names = self.names.lock().expect("nobody panics here");
        names.insert(renamed.clone(), name.to_owned());
        StreamId::from_recorded(renamed)
    }

    fn back(&self, stream: StreamId) -> StreamId {
        let names = self.names.lock().expect("nobody panics here");
        names
            .get(stream.as_str())
            .map_or(stream, |name| StreamId::from_recorded(name.clone()))
    }

    fn event(&self, mut event: RecordedEvent) -> RecordedEvent {
        event.stream = self.back(event.stream);
        event
    }

    fn position(&self, position: Position) -> Position {
        if position <= self.base {
            Position::START
        } else {
            position
        }
    }

    fn page(&self, page: Page) -> Page {
        Page {
            events: page.events.into_iter().map(|event| self.event(event)).collect(),
            next: self.position(page.next),
        }
    }

    fn filter(&self, filter: &Filter) -> Filter {
        let mut filter = filter.clone();
        for prefix in &mut filter.stream_prefixes {
            prefix.insert_str(0, &self.prefix);
        }
        filter
    }
}

struct Own {
    store: Arc<KurrentEventStore>,
    part: Arc<Part>,
}

impl EventStore for Own {
    fn append(&self, mut append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            for write in &mut append.writes {
                write.stream = self.part.there(&write.stream);
            }
            self.store.append(append).await.map_err(|error| match error {
                AppendError::Conflict { stream, actual } => {
                    let stream = self.part.back(stream);
                    AppendError::Conflict { stream, actual }
                }
                error => error,
            })
        })
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(async move {
            let events = self.store.load(&self.part.there(stream), revision).await?;
            Ok(events.into_iter().map(|event| self.part.event(event)).collect())
        })
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            let after = after.max(self.part.base);
            let page = self
                .store
                .read_all(after, &self.part.filter(filter), limit)
                .await?;
            Ok(self.part.page(page))
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { self.store.head().await.map(|head| self.part.position(head)) })
    }

    fn known_head(&self) -> Position {
        self.part.position(self.store.known_head())
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        let after = after.max(self.part.base);
        Box::new(Following {
            subscription: self.store.subscribe(after, self.part.filter(&filter)),
            part: Arc::clone(&self.part),
        })
    }
}

struct Following {
    subscription: Box<dyn Subscription>,
    part: Arc<Part>,
}

impl Subscription for Following {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async { self.subscription.next().await.map(|page| self.part.page(page)) })
    }
}
