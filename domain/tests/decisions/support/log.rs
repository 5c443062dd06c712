//! Histories of streams, and a command run against them as the write path runs it, without any I/O.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use domain::{
    aggregate::{Aggregate, decode, encode},
    authz::{self, Denied, Principal},
    event_store::{Expected, NewEvent, Position, RecordedEvent, StreamId},
    execute::{Command, Context, Refused},
    id::Ids,
    world::{Reads, World},
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

/// One recorded fact, comparable: stream, kind, payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) stream: StreamId,
    pub(crate) kind: String,
    pub(crate) data: serde_json::Value,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) enum Outcome<R> {
    /// It holds; these facts are new.
    Done(Vec<Fact>),
    /// The rule said no; these facts are recorded about it.
    Refused(R, Vec<Fact>),
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
    pub(crate) fn load<C: Command>(&self, command: &C) -> World {
        let mut world = World::default();
        loop {
            let mut reads = Reads::default();
            command.reads(&world, &mut reads);
            let missing = world.missing(&reads);
            if missing.is_empty() {
                world.take_undeclared(); // while naming streams, looking at those not loaded yet is fine
                return world;
            }
            for stream in missing {
                let history = self.streams.get(&stream).map_or(&[][..], Vec::as_slice);
                world
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
        let world = self.load(command);
        self.run_on(&world, command, principal, now)
            .expect("nobody else writes in between")
    }

    /// Decides on `world`, which may be outdated, and records unless another writer was first.
    ///
    /// # Errors
    /// The stream that has moved on; nothing is recorded then.
    pub(crate) fn run_on<C: Command>(
        &mut self,
        world: &World,
        command: &C,
        principal: &Principal,
        now: OffsetDateTime,
    ) -> Result<Outcome<C::Refusal>, StreamId> {
        let permitted = authz::permit(principal, &command.requires(world));
        assert_eq!(
            world.take_undeclared(),
            None,
            "requires() looks at a stream that reads() does not name"
        );
        if let Err(denied) = permitted {
            return Ok(Outcome::Denied(denied));
        }
        let decision = command.decide(world, &Context { now, principal });
        assert_eq!(
            world.take_undeclared(),
            None,
            "decide() looks at a stream that reads() does not name"
        );
        let (changes, refusal) = match decision {
            Ok(changes) => (changes, None),
            Err(Refused { reason, record }) => (record, Some(reason)),
        };
        assert_eq!(changes.defect(), None, "every fact can be encoded");
        let mut facts = Vec::new();
        if !changes.is_empty() {
            let writes = world.writes(changes, &self.ids);
            if let Some(moved) = writes
                .iter()
                .find(|write| !self.stands(&write.stream, write.expected))
            {
                return Err(moved.stream.clone());
            }
            for write in writes {
                for event in write.events {
                    let data = serde_json::from_str(event.data.get()).expect("payloads are JSON");
                    facts.push(Fact {
                        stream: write.stream.clone(),
                        kind: event.kind.clone(),
                        data,
                    });
                    self.push(&write.stream, event);
                }
            }
        }
        Ok(match refusal {
            Some(reason) => Outcome::Refused(reason, facts),
            None => Outcome::Done(facts),
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
