//! What was asked of the log and what it answered, noted from outside: the basis of the invariants.
//!
//! The rule: [`Witness`] changes nothing and lies before the store, so an answer that a process never saw, because it
//! crashed or because the answer was lost, is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
    id::UserId,
};
use event_store::memory::MemoryEventStore;
use uuid::Uuid;

use super::{clock::LogicalClock, trace::Trace, yield_point::step};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The ids of every append that was ever sent.
    pub(super) sent: BTreeSet<Vec<Uuid>>,
    /// Acknowledged appends, by the ids of their events.
    pub(super) acknowledged: BTreeMap<Vec<Uuid>, Position>,
    /// For events sent on behalf of a user: who, and the first event of the append.
    pub(super) requests: BTreeMap<Uuid, (UserId, Uuid)>,
    /// Commands that were refused because their attempt was stale.
    pub(super) stale: u64,
    /// Mails that their receivers got.
    pub(super) mails: Vec<TakenMail>,
    /// What must never happen, whatever goes wrong.
    pub(super) violations: Vec<String>,
}

/// A mail as its receiver got it.
#[derive(Clone, Debug)]
pub(super) struct TakenMail {
    pub(super) id: Uuid,
    pub(super) person: UserId,
    pub(super) text: String,
    /// How far the log was when it was decided on.
    pub(super) decided: Position,
}

/// One process's handle on the log.
pub(super) struct Witness {
    pub(super) inner: Arc<MemoryEventStore>,
    pub(super) notes: Arc<Mutex<Notes>>,
    pub(super) trace: Arc<Trace>,
    pub(super) clock: Arc<LogicalClock>,
    pub(super) who: String,
    /// For whom the process acts just now.
    pub(super) request: Mutex<Option<UserId>>,
}

impl Witness {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the process acts for `user`, or for itself.
    pub(super) fn serve(&self, user: Option<UserId>) {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = user;
    }

    fn say(&self, what: &str) {
        self.trace.line(self.clock.micros(), &self.who, what);
    }

    async fn watch(&self, append: Append) -> Result<Appended, AppendError> {
        let events = || append.writes.iter().flat_map(|write| &write.events);
        let ids: Vec<Uuid> = events().map(|event| event.id).collect();
        let kinds: Vec<&str> = events().map(|event| event.kind.as_str()).collect();
        let what = format!("{} {}", number(&ids), kinds.join(" + "));
        {
            let mut notes = self.notes();
            notes.sent.insert(ids.clone());
            let request = *self.request.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((user, first)) = request.zip(ids.first().copied()) {
                notes.requests.extend(ids.iter().map(|id| (*id, (user, first))));
            }
        }
        self.say(&format!("→ {what}"));
        // Here, and after the answer, a process can crash, whatever the store's delays are.
        step().await;
        let answer = self.inner.append(append).await;
        match &answer {
            Ok(appended) => {
                let mut notes = self.notes();
                notes.acknowledged.insert(ids, appended.position);
                drop(notes);
                self.say(&format!("← {what}: at {}", appended.position));
            }
            Err(error) => self.say(&format!("← {what}: {error}")),
        }
        step().await;
        answer
    }
}

/// A short name of an append: the number in its first id.
fn number(ids: &[Uuid]) -> String {
    let low = ids.first().map_or(0, |id| id.as_u128() & 0xffff_ffff);
    format!("#{low:x}")
}

impl EventStore for Witness {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(self.watch(append))
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
        self.inner.read_all(after, filter, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn known_head(&self) -> Position {
        self.inner.known_head()
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        self.inner.subscribe(after, filter)
    }
}
