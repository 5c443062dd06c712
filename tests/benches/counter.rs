//! The aggregate, the command and the read model that the figures of the log are taken with.
//!
//! The rule: an event carries some two hundred bytes, which is what most events of the product have.

use domain::{
    aggregate::{Aggregate, DecodeError, decode, event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    event_store::RecordedEvent,
    execute::{Command, Context, Decision},
};
use projections::read_model::{ReadModel, Row, Rows, Scope};

/// The kind of every event of the figures.
pub(crate) const KIND: &str = "bench.Counted";
/// The table of [`Counters`], made by hand: the product has none of the kind.
pub(crate) const TABLE: &str = "create table bench_counter (id text collate \"C\" primary key, count bigint not null, \
                                last text not null)";

/// The payload of the event with the number `n`.
pub(crate) fn payload(n: u64) -> String {
    format!(r#"{{"n":{n},"text":"{}"}}"#, text(n))
}

fn text(n: u64) -> String {
    format!("some two hundred bytes of payload, which is what most events have: {n:080}")
}

/// What happens to a counter.
#[event(context = "bench", subject = nobody)]
#[derive(Clone, Debug)]
pub(crate) enum CounterEvent {
    /// It was counted on.
    Counted {
        /// Its number.
        n: u64,
        /// What makes it as large as other events.
        #[plain]
        text: String,
    },
}

/// Counts the events of its stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter {
    count: u64,
    last: String,
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "bench.counter";
    type Event = CounterEvent;

    fn evolve(&mut self, event: &CounterEvent) {
        let CounterEvent::Counted { text, .. } = event;
        self.count += 1;
        self.last.clone_from(text);
    }
}

/// Counts on.
pub(crate) struct Count(pub(crate) &'static str);

/// It never is.
#[derive(Debug)]
pub(crate) struct NeverRefused;

impl std::fmt::Display for NeverRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never refused")
    }
}

impl std::error::Error for NeverRefused {}

impl Command for Count {
    type Refusal = NeverRefused;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Counter>(self.0);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::System
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<NeverRefused> {
        let n = loaded.get::<Counter>(self.0).count;
        let event = CounterEvent::Counted { n, text: text(n) };
        Ok(NewEvents::record::<Counter>(self.0, &event))
    }
}

/// A counter as it is read.
#[derive(Clone, Debug, Row)]
pub(crate) struct CounterRow {
    id: String,
    count: i64,
    last: String,
}

/// The projection of the counters.
#[derive(Default)]
pub(crate) struct Counters;

impl ReadModel for Counters {
    type Row = CounterRow;
    const NAME: &'static str = "bench.counter";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "bench_counter";
    const KEY_TYPE: &'static str = "text";
    const SCOPE: Scope = Scope::Internal("nobody reads it but the figures");
    const CATEGORIES: &'static [&'static str] = &[Counter::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(vec![event.stream.key().to_owned()])
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<CounterRow>) -> Result<(), DecodeError> {
        let CounterEvent::Counted { text, .. } = decode(event)?;
        let key = event.stream.key();
        if event.revision == 0 {
            let id = key.to_owned();
            rows.put(
                key,
                CounterRow {
                    id,
                    count: 1,
                    last: text,
                },
            );
        } else {
            rows.change(key, |row| {
                row.count += 1;
                row.last = text;
            });
        }
        Ok(())
    }
}
