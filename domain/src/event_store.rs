//! PORT: the append-only log.
//!
//! What every adapter promises, and one contract suite (`event-store/tests`) proves:
//!
//! * **Order.** Each event has a [`Position`] in the whole log and a revision in its stream. Readers see
//!   events in strictly ascending position; an event below a position already read never appears later.
//! * **Atomicity.** One [`Append`] lands whole or not at all, over all its streams, and only if every
//!   stream stands where [`Expected`] says; streams with no events are checked and not written.
//! * **Idempotency.** Event ids are unique. Appending the same ids with the same content again answers
//!   with the first result and records nothing; with other content it is refused ([`AppendError::IdReused`]).
//! * **Durability.** `Ok` means that the events survive a crash of any process and of the machine.
//!
//! Nothing here belongs to PostgreSQL or to KurrentDB alone.

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

/// A boxed future, so that the port can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place in the whole log. Opaque: compare positions, never count with them.
///
/// `Position::START` is before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a stream: `<context>.<aggregate>-<key>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    /// The stream of the aggregate `key` in `category`.
    #[must_use]
    pub fn new(category: &str, key: &str) -> Self {
        Self(format!("{category}-{key}"))
    }

    /// A name as it was read from the log.
    #[must_use]
    pub fn from_recorded(name: String) -> Self {
        Self(name)
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `-`.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0
            .split_once('-')
            .map_or(self.0.as_str(), |(category, _)| category)
    }

    /// What stands after the first `-`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a stream must stand for an append to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The stream has no events.
    NoStream,
    /// The last event of the stream has this revision (the first event has revision 0).
    Exact(u64),
    /// The last event of the stream is this one: for who decided on an append whose answer was still to come, and must
    /// not pass on what another wrote instead.
    At {
        /// Its revision.
        revision: u64,
        /// Its id.
        id: Uuid,
    },
    /// Not checked.
    Any,
}

impl Expected {
    /// The expectation of a reader that saw `revision` last, or nothing.
    #[must_use]
    pub fn after(revision: Option<u64>) -> Self {
        revision.map_or(Self::NoStream, Self::Exact)
    }
}

/// Who, on whose behalf, from where, and why: recorded with each event (AU-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Who acted: `user:usr_…`, `key:…`, `worker:wrk_…`, `system:<part>`, `anonymous`.
    pub actor: String,
    /// Whom the actor acted for, when not for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// The organization of the actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The session the request came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The request that caused this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Common to everything that one first cause brought about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The event that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// Network address of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// User agent of the caller, cut to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// An event that is to be recorded.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Unique in the whole log; what makes a retry safe.
    pub id: Uuid,
    /// `<context>.<Event>`.
    pub kind: String,
    /// Version of the payload's schema, from 1.
    pub schema_version: u16,
    /// The payload: these bytes are stored, hashed, and never re-serialised.
    pub data: Box<RawValue>,
}

/// What an append does to one stream. No events: the expectation is checked and nothing is written.
#[derive(Clone, Debug)]
pub struct StreamWrite {
    /// The stream.
    pub stream: StreamId,
    /// Where it must stand.
    pub expected: Expected,
    /// What is added, in this order.
    pub events: Vec<NewEvent>,
}

/// One atomic append. Each stream appears once; at least one event in all.
#[derive(Clone, Debug)]
pub struct Append {
    /// The streams, in the order in which their events get positions.
    pub writes: Vec<StreamWrite>,
    /// Recorded with every event.
    pub meta: Metadata,
}

/// Where an append landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its last event.
    pub position: Position,
    /// The time given to its events.
    pub at: OffsetDateTime,
}

/// An event as recorded.
#[derive(Clone, Debug)]
pub struct RecordedEvent {
    /// See [`NewEvent::id`].
    pub id: Uuid,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place in the stream, from 0, without gaps.
    pub revision: u64,
    /// Its place in the log.
    pub position: Position,
    /// See [`NewEvent::kind`].
    pub kind: String,
    /// See [`NewEvent::schema_version`].
    pub schema_version: u16,
    /// When it was recorded; never runs backwards along the log.
    pub at: OffsetDateTime,
    /// The payload, byte for byte.
    pub data: Box<RawValue>,
    /// Who and why.
    pub meta: Metadata,
}

/// Which events a reader wants. All conditions must hold; empty means all events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Streams whose name starts with one of these.
    pub stream_prefixes: Vec<String>,
    /// Kinds that start with one of these.
    pub kind_prefixes: Vec<String>,
}

impl Filter {
    /// Every event.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether `event` passes.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        let hit = |prefixes: &[String], text: &str| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
        };
        hit(&self.stream_prefixes, event.stream.as_str()) && hit(&self.kind_prefixes, &event.kind)
    }
}

/// A stretch of the log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events that passed the filter, ascending.
    pub events: Vec<RecordedEvent>,
    /// Everything up to here has been looked at: where to read on, also when nothing passed.
    pub next: Position,
}

/// The store itself failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time, or the connection broke. Safe to try again.
    #[error("the event store is not reachable: {0}")]
    Unavailable(String),
    /// There is no room for what was to be recorded. Nothing was; it will be when an operator has made room.
    #[error("the storage of the event log is full: {0}")]
    Full(String),
    /// It only answers reads at present: a standby, or a file system that went read-only. Nothing was recorded.
    #[error("the event log is read-only: {0}")]
    ReadOnly(String),
    /// What it holds breaks its promises. Never skipped, never repaired silently.
    #[error("the event log is damaged: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether trying again may help, now or when an operator has acted.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Full(_) | Self::ReadOnly(_) => true,
            Self::Corrupt(_) => false,
        }
    }
}

/// Why an append recorded nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// A stream does not stand where it was expected. Load again, decide again.
    #[error("stream {stream} stands at {actual:?}, not where it was expected")]
    Conflict {
        /// The first such stream of the append.
        stream: StreamId,
        /// The revision of its last event; `None` when it has none.
        actual: Option<u64>,
    },
    /// An event id of this append is taken by an event with other content.
    #[error("event id {id} is already used by another event")]
    IdReused {
        /// The id.
        id: Uuid,
    },
    /// No events, a stream named twice, or more or larger events than the store takes at once.
    #[error("the append is malformed: {0}")]
    Malformed(String),
    /// Too much is waiting to be recorded. Nothing was recorded; try again later.
    #[error("the event store is overloaded, try again")]
    Overloaded,
    /// The store failed. Whether the events were recorded is unknown; the same append may be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A catch-up subscription: reads what is there, then waits for more.
pub trait Subscription: Send {
    /// The next events, at least one event or a moved position. Waits as long as it takes; dropping the
    /// future loses nothing. After an error the same call may be tried again.
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>>;
}

/// The log, as the rest of the system sees it. See the module for what is promised.
pub trait EventStore: Send + Sync {
    /// Records `append`, or says why not.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// Whether appends are, as a rule, decided in the order in which their futures were first polled. Then it is worth
    /// while to name an event with [`Expected::At`] whose append has begun and is not answered.
    fn keeps_order(&self) -> bool {
        false
    }

    /// The events of `stream` from `revision` on (0: all of them), oldest first.
    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>>;

    /// As [`EventStore::load`] for each of `streams`, a stream and the revision to start at; the answers are in
    /// the same order. An adapter that can asks its server once.
    fn load_many<'a>(
        &'a self,
        streams: &'a [(StreamId, u64)],
    ) -> BoxFuture<'a, Result<Vec<Vec<RecordedEvent>>, StoreError>> {
        Box::pin(async move {
            let mut histories = Vec::with_capacity(streams.len());
            for (stream, revision) in streams {
                histories.push(self.load(stream, *revision).await?);
            }
            Ok(histories)
        })
    }

    /// At most `limit` looked-at events after `after`.
    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// The position of the last event that is recorded now, by any process.
    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// The hash that the log has at `position`, of an adapter that chains its events: it covers everything up to there, so
    /// that what was derived from a log with this hash was derived from the same events. `None` when no event has this
    /// position, or the adapter keeps no chain.
    fn chain_hash(&self, position: Position) -> BoxFuture<'_, Result<Option<[u8; 32]>, StoreError>> {
        let _ = position;
        Box::pin(async { Ok(None) })
    }

    /// The last position that this process knows of, at no cost; may lag behind [`EventStore::head`]
    /// by what other processes appended in the last moments, never behind this process's own appends.
    fn known_head(&self) -> Position;

    /// Follows the log from after `after`.
    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription>;
}
