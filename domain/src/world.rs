//! What a decision may look at, and what it brings about.
//!
//! A command first names the streams it reads ([`Reads`]); the write path loads and folds them into a
//! [`World`]; the decision turns that into [`Changes`]. The rule: every stream that was read is checked
//! again, at its exact revision, by the append that records the changes. So a decision holds at the moment
//! it is recorded, or is taken again.

use std::{
    any::TypeId,
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::value::RawValue;

use crate::{
    aggregate::{Aggregate, DecodeError, Event, decode, encode},
    aggregate_cache::Folded,
    event_store::{Expected, NewEvent, RecordedEvent, StreamId, StreamWrite},
    id::Ids,
};

/// Folds `events` onto what was known, whose type the caller has compared.
fn fold<A: Aggregate>(known: Option<Folded>, events: &[RecordedEvent]) -> Result<Folded, DecodeError> {
    let known = known.unwrap_or_else(|| Folded {
        state: Arc::new(A::default()),
        revision: None,
        bytes: 0,
    });
    let Some(last) = events.last() else {
        return Ok(known);
    };
    let mut state = known.state.downcast_ref::<A>().cloned().unwrap_or_default();
    let mut bytes = known.bytes;
    for event in events {
        state.evolve(&decode(event)?);
        bytes += event.data.get().len();
    }
    Ok(Folded {
        state: Arc::new(state),
        revision: Some(last.revision),
        bytes,
    })
}

/// How a stream is read.
struct Asked {
    kind: TypeId,
    fold: fn(Option<Folded>, &[RecordedEvent]) -> Result<Folded, DecodeError>,
}

/// The streams a command wants to see.
#[derive(Default)]
pub struct Reads(BTreeMap<StreamId, Asked>);

impl Reads {
    /// Asks for the aggregate `A` under `key`.
    pub fn read<A: Aggregate>(&mut self, key: impl std::fmt::Display) -> &mut Self {
        let asked = Asked {
            kind: TypeId::of::<A>(),
            fold: fold::<A>,
        };
        self.0.insert(A::stream(key), asked);
        self
    }

    /// As which type of aggregate `stream` was asked for.
    pub(crate) fn kind(&self, stream: &StreamId) -> Option<TypeId> {
        self.0.get(stream).map(|asked| asked.kind)
    }
}

/// The folded state of the streams that a command asked for.
#[derive(Default)]
pub struct World {
    streams: BTreeMap<StreamId, Folded>,
    undeclared: Mutex<Option<StreamId>>,
}

impl World {
    /// The state of one aggregate; its default when nothing is recorded of it yet.
    ///
    /// A stream that was not asked for reads as empty, and the write path then refuses the whole command
    /// as defective: nothing can be recorded on the ground of an unchecked read.
    #[must_use]
    pub fn get<A: Aggregate>(&self, key: impl std::fmt::Display) -> A {
        let stream = A::stream(key);
        match self
            .streams
            .get(&stream)
            .and_then(|loaded| loaded.state.downcast_ref::<A>())
        {
            Some(state) => state.clone(),
            None => {
                if let Ok(mut undeclared) = self.undeclared.lock() {
                    undeclared.get_or_insert(stream);
                }
                A::default()
            }
        }
    }

    /// A stream that was read without being asked for since the last call.
    pub fn take_undeclared(&self) -> Option<StreamId> {
        self.undeclared
            .lock()
            .ok()
            .and_then(|mut undeclared| undeclared.take())
    }

    /// Which of `reads` are not loaded yet.
    #[must_use]
    pub fn missing(&self, reads: &Reads) -> Vec<StreamId> {
        reads
            .0
            .keys()
            .filter(|stream| !self.streams.contains_key(*stream))
            .cloned()
            .collect()
    }

    /// Folds the history of one stream that was asked for; of any other stream nothing is kept.
    ///
    /// # Errors
    /// When this build cannot read one of the events.
    pub fn load(
        &mut self,
        reads: &Reads,
        stream: StreamId,
        events: &[RecordedEvent],
    ) -> Result<(), DecodeError> {
        self.resume(reads, stream, None, events).map(|_| ())
    }

    /// As [`World::load`], where the events up to `known` are folded already. Hands out what they fold into.
    pub(crate) fn resume(
        &mut self,
        reads: &Reads,
        stream: StreamId,
        known: Option<Folded>,
        events: &[RecordedEvent],
    ) -> Result<Option<&Folded>, DecodeError> {
        let Some(asked) = reads.0.get(&stream) else {
            return Ok(None);
        };
        let folded = (asked.fold)(known, events)?;
        Ok(Some(self.streams.entry(stream).insert_entry(folded).into_mut()))
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
        };
        self.streams.insert(A::stream(key), folded);
        Ok(self)
    }

    /// The writes that record `changes`: every stream read is checked, the changed ones are written.
    #[must_use]
    pub fn writes(&self, changes: Changes, ids: &dyn Ids) -> Vec<StreamWrite> {
        let mut writes: Vec<StreamWrite> = Vec::new();
        for change in changes.list {
            let event = NewEvent {
                id: change.id.unwrap_or_else(|| ids.next()),
                kind: change.kind,
                schema_version: change.schema_version,
                data: change.data,
            };
            if let Some(write) = writes.iter_mut().find(|write| write.stream == change.stream) {
                write.events.push(event);
                continue;
            }
            let expected = self
                .streams
                .get(&change.stream)
                .map_or(Expected::Any, |loaded| Expected::after(loaded.revision));
            writes.push(StreamWrite {
                stream: change.stream,
                expected,
                events: vec![event],
            });
        }
        for (stream, loaded) in &self.streams {
            if !writes.iter().any(|write| &write.stream == stream) {
                let expected = Expected::after(loaded.revision);
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
struct Change {
    stream: StreamId,
    id: Option<uuid::Uuid>,
    kind: String,
    schema_version: u16,
    data: Box<RawValue>,
}

/// The facts that a decision wants recorded, in order. Empty: the wanted state already holds.
#[derive(Debug, Default)]
pub struct Changes {
    list: Vec<Change>,
    defect: Option<String>,
}

impl Changes {
    /// "Already so": success without a new fact.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One fact about the aggregate `A` under `key`.
    #[must_use]
    pub fn record<A: Aggregate>(key: impl std::fmt::Display, event: &A::Event) -> Self {
        Self::none().and::<A>(key, event)
    }

    /// And one more fact, in the same append.
    #[must_use]
    pub fn and<A: Aggregate>(self, key: impl std::fmt::Display, event: &A::Event) -> Self {
        self.push::<A>(key, None, event)
    }

    /// And one more fact under an id of the caller's, so that reporting it twice records it once.
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
                let change = Change {
                    stream: A::stream(key),
                    id,
                    kind,
                    schema_version,
                    data,
                };
                // A number that is none is written as `null` and would stop every reader of the log for good.
                if let Err(error) = from_change::<A::Event>(&change) {
                    self.defect = Some(format!("{} cannot be read back: {error}", change.kind));
                }
                self.list.push(change);
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

    /// Why these facts cannot be recorded, if an event type is defective.
    #[must_use]
    pub fn defect(&self) -> Option<&str> {
        self.defect.as_deref()
    }

    /// The kinds of the facts, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        self.list.iter().map(|change| change.kind.as_str()).collect()
    }

    /// The facts recorded about `A` under `key`, read back.
    #[must_use]
    pub fn of<A: Aggregate>(&self, key: impl std::fmt::Display) -> Vec<A::Event> {
        let stream = A::stream(key);
        let events = self.list.iter().filter(|change| change.stream == stream);
        events
            .filter_map(|change| from_change::<A::Event>(change).ok())
            .collect()
    }
}

fn from_change<E: Event>(change: &Change) -> Result<E, serde_json::Error> {
    serde_json::from_str(&format!(
        r#"{{"kind":"{}","data":{}}}"#,
        change.kind,
        change.data.get()
    ))
}
