//! The input and output of a decision: the state that a command loaded, and the events that it produced.
//!
//! A command declares the streams it reads ([`ReadSet`]); the write path loads and folds them into a [`LoadedState`];
//! the decision returns [`NewEvents`]. The rule: the append that records the new events checks every stream that was
//! read, at its exact revision. So a decision is valid when it is recorded, or it is retried.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::value::RawValue;

pub use crate::read_set::ReadSet;
use crate::{
    aggregate::{Aggregate, DecodeError, Event, encode, is_personal},
    event_store::{Expected, NewEvent, RecordedEvent, StreamId, StreamWrite},
    folded::Folded,
    id::Ids,
};

/// The folded state of the streams in a [`ReadSet`].
#[derive(Default)]
pub struct LoadedState {
    streams: BTreeMap<StreamId, Folded>,
    /// How they were read.
    reads: ReadSet,
    undeclared: Mutex<Option<StreamId>>,
}

impl LoadedState {
    /// The state of one aggregate; its default when nothing is recorded of it yet.
    ///
    /// A stream outside the read set reads as empty, and the write path then rejects the whole command as defective:
    /// nothing is recorded based on an unchecked read.
    #[must_use]
    pub fn get<A: Aggregate>(&self, key: impl std::fmt::Display) -> A {
        self.peek::<A>(key).cloned().unwrap_or_default()
    }

    /// Like [`LoadedState::get`], without a copy; `None` for a stream outside the read set.
    pub fn peek<A: Aggregate>(&self, key: impl std::fmt::Display) -> Option<&A> {
        let stream = A::stream(key);
        let folded = self.streams.get(&stream);
        let state = folded.and_then(|folded| folded.state.downcast_ref::<A>());
        if state.is_none()
            && let Ok(mut undeclared) = self.undeclared.lock()
        {
            undeclared.get_or_insert(stream);
        }
        state
    }

    /// How many events the streams of `reads` have; what is not loaded has none.
    pub(crate) fn events_in(&self, reads: &ReadSet) -> u64 {
        let folded = reads.0.keys().filter_map(|stream| self.streams.get(stream));
        folded
            .map(|folded| folded.revision.map_or(0, |last| last + 1))
            .sum()
    }

    /// A stream that was read outside the read set since the last call.
    pub fn take_undeclared(&self) -> Option<StreamId> {
        self.undeclared
            .lock()
            .ok()
            .and_then(|mut undeclared| undeclared.take())
    }

    /// Which of `reads` are not loaded yet.
    #[must_use]
    pub fn missing(&self, reads: &ReadSet) -> Vec<StreamId> {
        reads
            .0
            .keys()
            .filter(|stream| !self.streams.contains_key(*stream))
            .cloned()
            .collect()
    }

    /// Folds the history of one stream of the read set; other streams are ignored.
    ///
    /// # Errors
    /// When this build cannot read one of the events.
    pub fn load(
        &mut self,
        reads: &ReadSet,
        stream: StreamId,
        events: &[RecordedEvent],
    ) -> Result<(), DecodeError> {
        self.resume(reads, stream, None, events).map(|_| ())
    }

    /// Like [`LoadedState::load`], starting from the cached state `known`. Returns the new folded state.
    pub(crate) fn resume(
        &mut self,
        reads: &ReadSet,
        stream: StreamId,
        known: Option<Folded>,
        events: &[RecordedEvent],
    ) -> Result<Option<&Folded>, DecodeError> {
        let Some(read) = reads.0.get(&stream) else {
            return Ok(None);
        };
        let folded = (read.fold)(known, events)?;
        self.reads.0.insert(stream.clone(), *read);
        Ok(Some(self.streams.entry(stream).insert_entry(folded).into_mut()))
    }

    /// The state of `stream` as it was loaded, if it was read as in `reads`.
    pub(crate) fn folded(&self, stream: &StreamId, reads: &ReadSet) -> Option<&Folded> {
        let folded = self.streams.get(stream)?;
        (reads.kind(stream) == Some(folded.kind())).then_some(folded)
    }

    /// The revisions of the streams that were loaded.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = (&StreamId, Option<u64>)> {
        self.streams
            .iter()
            .map(|(stream, folded)| (stream, folded.revision))
    }

    /// Whether any of it is predicted only.
    pub(crate) fn is_predicted(&self) -> bool {
        self.streams.values().any(|folded| folded.unproved.is_some())
    }

    /// Whether `stream` was loaded.
    pub(crate) fn holds(&self, stream: &StreamId) -> bool {
        self.streams.contains_key(stream)
    }

    /// What `stream` folds into with `events`, which were recorded after what was loaded.
    ///
    /// # Errors
    /// When this build cannot read one of them.
    pub(crate) fn after(
        &self,
        stream: &StreamId,
        events: &[RecordedEvent],
    ) -> Result<Option<Folded>, DecodeError> {
        let known = self.streams.get(stream).cloned();
        let read = self.reads.0.get(stream);
        read.map(|read| (read.fold)(known, events)).transpose()
    }

    /// Folds given events of one aggregate, for tests of decisions.
    ///
    /// # Errors
    /// When an event cannot be encoded and read back.
    pub fn given<A: Aggregate>(
        mut self,
        key: impl std::fmt::Display,
        events: &[A::Event],
    ) -> Result<Self, serde_json::Error> {
        let mut state = A::default();
        for event in events {
            encode(uuid::Uuid::nil(), event)?;
            state.evolve(event);
        }
        let folded = Folded {
            state: Arc::new(state),
            revision: (events.len() as u64).checked_sub(1),
            bytes: 0,
            behind: false,
            unproved: None,
        };
        self.streams.insert(A::stream(key), folded);
        Ok(self)
    }

    /// The writes that record `new_events`: every stream read is checked, the changed ones are written.
    #[must_use]
    pub fn writes(&self, new_events: NewEvents, ids: &dyn Ids) -> Vec<StreamWrite> {
        let mut writes: Vec<StreamWrite> = Vec::new();
        for pending in new_events.list {
            let event = NewEvent {
                id: pending.id.unwrap_or_else(|| ids.next()),
                kind: pending.kind,
                schema_version: pending.schema_version,
                data: pending.data,
            };
            if let Some(write) = writes.iter_mut().find(|write| write.stream == pending.stream) {
                write.events.push(event);
                continue;
            }
            let expected = self
                .streams
                .get(&pending.stream)
                .map_or(Expected::Any, Folded::expected);
            writes.push(StreamWrite {
                stream: pending.stream,
                expected,
                events: vec![event],
            });
        }
        for (stream, folded) in &self.streams {
            if !writes.iter().any(|write| &write.stream == stream) {
                let expected = folded.expected();
                writes.push(StreamWrite {
                    stream: stream.clone(),
                    expected,
                    events: Vec::new(),
                });
            }
        }
        writes
    }
}

#[derive(Debug)]
struct PendingEvent {
    stream: StreamId,
    id: Option<uuid::Uuid>,
    kind: String,
    schema_version: u16,
    data: Box<RawValue>,
    /// Whether it may read otherwise than it was written, or be recorded already.
    unlike: bool,
}

/// The events that a decision produces, in order. Empty if the desired state already holds.
#[derive(Debug, Default)]
pub struct NewEvents {
    list: Vec<PendingEvent>,
    defect: Option<String>,
}

impl NewEvents {
    /// No new events: the desired state already holds.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One event of the aggregate `A` under `key`.
    #[must_use]
    pub fn record<A: Aggregate>(key: impl std::fmt::Display, event: &A::Event) -> Self {
        Self::none().and::<A>(key, event)
    }

    /// Adds an event to the same append.
    #[must_use]
    pub fn and<A: Aggregate>(self, key: impl std::fmt::Display, event: &A::Event) -> Self {
        self.push::<A>(key, None, event)
    }

    /// Adds an event with a caller-chosen ID, so that reporting it twice records it once.
    #[must_use]
    pub fn and_once<A: Aggregate>(
        self,
        key: impl std::fmt::Display,
        id: uuid::Uuid,
        event: &A::Event,
    ) -> Self {
        self.push::<A>(key, Some(id), event)
    }

    fn push<A: Aggregate>(
        mut self,
        key: impl std::fmt::Display,
        id: Option<uuid::Uuid>,
        event: &A::Event,
    ) -> Self {
        match encode(uuid::Uuid::nil(), event) {
            Ok(NewEvent {
                kind,
                schema_version,
                data,
                ..
            }) => {
                let pending = PendingEvent {
                    stream: A::stream(key),
                    id,
                    schema_version,
                    data,
                    unlike: id.is_some() || is_personal::<A::Event>(&kind),
                    kind,
                };
                // NaN is serialized as `null` and would stop every reader of the log for good.
                if let Err(error) = read_back::<A::Event>(&pending) {
                    self.defect = Some(format!("{} cannot be read back: {error}", pending.kind));
                }
                self.list.push(pending);
            }
            Err(error) => {
                self.defect = Some(format!("an event of {} cannot be encoded: {error}", A::CATEGORY));
            }
        }
        self
    }

    /// Whether there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.defect.is_none()
    }

    /// The streams that they are written to.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.list.iter().map(|pending| &pending.stream)
    }

    /// Those streams whose state after the append is found by loading only: personal data of an erased person are not
    /// recorded as they were written, and an event with a chosen id may be recorded already.
    pub(crate) fn unlike(&self) -> BTreeSet<StreamId> {
        let unlike = self.list.iter().filter(|pending| pending.unlike);
        unlike.map(|pending| pending.stream.clone()).collect()
    }

    /// Why the events cannot be recorded, if an event type is defective.
    #[must_use]
    pub fn defect(&self) -> Option<&str> {
        self.defect.as_deref()
    }

    /// The event types, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        self.list.iter().map(|pending| pending.kind.as_str()).collect()
    }

    /// The events of `A` under `key`, decoded.
    #[must_use]
    pub fn of<A: Aggregate>(&self, key: impl std::fmt::Display) -> Vec<A::Event> {
        let stream = A::stream(key);
        let events = self.list.iter().filter(|pending| pending.stream == stream);
        events
            .filter_map(|pending| read_back::<A::Event>(pending).ok())
            .collect()
    }
}

fn read_back<E: Event>(pending: &PendingEvent) -> Result<E, serde_json::Error> {
    serde_json::from_str(&format!(
        r#"{{"kind":"{}","data":{}}}"#,
        pending.kind,
        pending.data.get()
    ))
}
