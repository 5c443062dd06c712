//! Histories of streams, and a command run against them as the write path runs it, without any I/O.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use domain::{
    aggregate::{Aggregate, decode, encode},
    authz::{self, Circumstances, Denied, Principal},
    decision::{LoadedState, ReadSet},
    event_store::{Expected, NewEvent, Position, RecordedEvent, StreamId},
    execute::{Command, Context, Refused},
    id::Ids,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Ids that count up.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Ids for Counter {
    fn next(&self) -> Uuid {
        Uuid::from_u128(0xffff_0000 + u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A recorded event in comparable form: stream, type, payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedEvent {
    pub(crate) stream: StreamId,
    pub(crate) kind: String,
    pub(crate) data: serde_json::Value,
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) enum Outcome<R> {
    /// It succeeded; these events are new.
    Done(Vec<ExpectedEvent>),
    /// The rule refused it; these events are recorded about it.
    Refused(R, Vec<ExpectedEvent>),
    /// The principal may not.
    Denied(Denied),
}

/// The histories of all streams.
#[derive(Default)]
pub(crate) struct Log {
    streams: BTreeMap<StreamId, Vec<RecordedEvent>>,
    ids: Counter,
    length: u64,
}

impl Log {
    /// Adds facts of one aggregate.
    pub(crate) fn record<A: Aggregate>(&mut self, key: impl std::fmt::Display, events: &[A::Event]) {
        let stream = A::stream(key);
        for event in events {
            let event = encode(self.ids.next(), event).expect("an event can be written");
            self.push(&stream, event);
        }
    }

    fn push(&mut self, stream: &StreamId, event: NewEvent) {
        self.length += 1;
        let history = self.streams.entry(stream.clone()).or_default();
        history.push(RecordedEvent {
            id: event.id,
            stream: stream.clone(),
            revision: history.len() as u64,
            position: Position(self.length),
            kind: event.kind,
            schema_version: event.schema_version,
            at: OffsetDateTime::UNIX_EPOCH,
            data: event.data,
            meta: Default::default(),
        });
    }

    /// The facts of one stream, read back.
    pub(crate) fn events<A: Aggregate>(&self, key: impl std::fmt::Display) -> Vec<A::Event> {
        let history = self.streams.get(&A::stream(key)).map_or(&[][..], Vec::as_slice);
        history
            .iter()
            .map(|event| decode(event).expect("a recorded event can be read"))
            .collect()
    }

    /// The state of one aggregate.
    pub(crate) fn state<A: Aggregate>(&self, key: impl std::fmt::Display) -> A {
        self.events::<A>(key)
            .iter()
            .fold(A::default(), |mut state, event| {
                state.evolve(event);
                state
            })
    }

    /// Loads what `command` names until it names nothing new: what it will decide on.
    pub(crate) fn load<C: Command>(&self, command: &C) -> LoadedState {
        let mut loaded = LoadedState::default();
        loop {
            let mut reads = ReadSet::default();
            command.reads(&loaded, &mut reads);
            let missing = loaded.missing(&reads);
            if missing.is_empty() {
                loaded.take_undeclared(); // while naming streams, looking at those not loaded yet is fine
                return loaded;
            }
            for stream in missing {
                let history = self.streams.get(&stream).map_or(&[][..], Vec::as_slice);
                loaded
                    .load(&reads, stream, history)
                    .expect("every recorded event can be read");
            }
        }
    }

    /// Decides and records.
    ///
    /// Panics when the command looks at a stream that it does not name.
    pub(crate) fn run<C: Command>(
        &mut self,
        command: &C,
        principal: &Principal,
        now: OffsetDateTime,
    ) -> Outcome<C::Refusal> {
        self.introduce(command, principal);
        let loaded = self.load(command);
        self.run_on(&loaded, command, principal, now)
            .expect("nobody else writes in between")
    }

    /// Decides on `loaded`, which may be outdated, and records unless another writer was first.
    ///
    /// # Errors
    /// The stream that has moved on; nothing is recorded then.
    pub(crate) fn run_on<C: Command>(
        &mut self,
        loaded: &LoadedState,
        command: &C,
        principal: &Principal,
        now: OffsetDateTime,
    ) -> Result<Outcome<C::Refusal>, StreamId> {
        let permitted = authz::permit(principal, &command.requires(loaded), &Circumstances::at(now));
        assert_eq!(
            loaded.take_undeclared(),
            None,
            "requires() looks at a stream that reads() does not name"
        );
        if let Err(denied) = permitted {
            return Ok(Outcome::Denied(denied));
        }
        let decision = command.decide(loaded, &Context { now, principal });
        assert_eq!(
            loaded.take_undeclared(),
            None,
            "decide() looks at a stream that reads() does not name"
        );
        let (changes, refusal) = match decision {
            Ok(changes) => (changes, None),
            Err(Refused { reason, record }) => (record, Some(reason)),
        };
        assert_eq!(changes.defect(), None, "every fact can be encoded");
        let mut events = Vec::new();
        if !changes.is_empty() {
            let writes = loaded.writes(changes, &self.ids);
            if let Some(moved) = writes
                .iter()
                .find(|write| !self.stands(&write.stream, write.expected))
            {
                return Err(moved.stream.clone());
            }
            for write in writes {
                for event in write.events {
                    let data = serde_json::from_str(event.data.get()).expect("payloads are JSON");
                    events.push(ExpectedEvent {
                        stream: write.stream.clone(),
                        kind: event.kind.clone(),
                        data,
                    });
                    self.push(&write.stream, event);
                }
            }
        }
        Ok(match refusal {
            Some(reason) => Outcome::Refused(reason, events),
            None => Outcome::Done(events),
        })
    }

    fn stands(&self, stream: &StreamId, expected: Expected) -> bool {
        let last = self
            .streams
            .get(stream)
            .and_then(|history| history.last())
            .map(|event| event.revision);
        expected == Expected::Any || expected == Expected::after(last)
    }
}
