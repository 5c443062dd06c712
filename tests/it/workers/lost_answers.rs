//! A log whose answers get lost on their way, after it has done what was asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::event_store::{
    Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent, StoreError,
    StreamId, Subscription,
};
use uuid::Uuid;

use super::{
    fixture::{Fixture, kinds},
    process::{Process, Training},
};

/// As often as the write path itself tries an append, so that its caller has to deal with it.
const LOST: u32 = 4;

struct Forgetful {
    store: Arc<dyn EventStore>,
    lost: Arc<Lost>,
}

/// How often each append was tried, by the id of its first event.
type Lost = Mutex<HashMap<Uuid, u32>>;

impl Forgetful {
    /// Whether the answer to this append gets lost this time.
    fn loses(&self, append: &Append) -> bool {
        let first = append
            .writes
            .iter()
            .flat_map(|write| &write.events)
            .next()
            .map(|event| event.id);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let times = lost.entry(first.unwrap_or_default()).or_default();
        *times += 1;
        *times <= LOST
    }
}

impl EventStore for Forgetful {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let loses = self.loses(&append);
            let answer = self.store.append(append).await;
            match answer {
                Ok(_) if loses => Err(StoreError::Unavailable("the answer got lost".to_owned()).into()),
                answer => answer,
            }
        })
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        self.store.load(stream, revision)
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

/// JB-4, E2: a lost answer after the commit neither doubles nor loses anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_without_an_answer_is_recorded_once() {
    let fixture = Fixture::new().await;
    let lost = Arc::new(Lost::default());
    let counted = lost.clone();
    let forgetful = |store| Arc::new(Forgetful { store, lost: counted }) as Arc<dyn EventStore>;
    let process = Process::start(&fixture).await.through(forgetful);
    let _worker = process.worker(&fixture, Training::Real);
    let job = fixture.queue("forgotten", 20, 1).await;
    let history = fixture.until_over(job).await;
    let expected = ["Queued", "Leased", "Started", "CheckpointSaved", "Completed"];
    assert_eq!(kinds(&history), expected, "{history:#?}");
    fixture.result(job).await;
    fixture.assert_progress_in_order(job).await;
    let progress = fixture.progress(job).await;
    for (nth, one) in progress.iter().enumerate() {
        assert!(!progress[..nth].contains(one), "it is there twice: {one:#?}");
    }
    let tries = lost.lock().unwrap_or_else(PoisonError::into_inner);
    // Registered, leased, started, saved and completed; an append that met a conflict had no answer to lose.
    let lost = tries.values().filter(|tries| **tries >= LOST).count();
    assert!(lost >= 5, "the answers got lost: {tries:?}");
}
