//! The end of the log as this process wrote it, so that whoever follows the log need not ask the database for it.
//!
//! The rule: only what COMMIT has confirmed, without a gap. What other processes append in between makes it start
//! anew; whatever is not in here is read from the database.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::event_store::{Filter, Page, Position, RecordedEvent};
use time::OffsetDateTime;

use super::decide::Placed;
use crate::prepared::Prepared;

/// Events that are kept at most: what a busy second brings.
const EVENTS: usize = 4_096;
/// Bytes of payload that are kept at most; less than a page may have.
const BYTES: usize = 8 << 20;

/// See the module; clones share it.
#[derive(Clone, Default)]
pub(super) struct Recent(Arc<Mutex<Tail>>);

#[derive(Default)]
struct Tail {
    events: VecDeque<Event>,
    bytes: usize,
}

/// An event of an append, and where it landed.
#[derive(Clone)]
struct Event {
    append: Arc<Prepared>,
    /// Which write of the append, and which event of that.
    place: (usize, usize),
    position: u64,
    revision: u64,
    at: OffsetDateTime,
}

impl Recent {
    /// Adds what was committed, in the order of the log.
    pub(super) fn push(&self, placed: &[Placed<'_>], at: OffsetDateTime) {
        let mut tail = self.tail();
        for placed in placed {
            let event = Event {
                append: Arc::clone(placed.append),
                place: placed.place,
                position: placed.position,
                revision: placed.revision,
                at,
            };
            tail.push(event);
        }
    }

    /// At most `limit` events after `after`, if what follows `after` is in here.
    pub(super) fn page(&self, after: Position, filter: &Filter, limit: usize) -> Option<Page> {
        let events = self.tail().after(after.0, limit.max(1))?;
        let next = Position(events.last()?.position);
        // An event that cannot be made is left to the database, which says what is wrong with it.
        let events: Option<Vec<RecordedEvent>> = events.iter().map(Event::recorded).collect();
        let mut events = events?;
        events.retain(|event| filter.matches(event));
        Some(Page { events, next })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // No step under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn push(&mut self, event: Event) {
        let follows = self
            .events
            .back()
            .is_none_or(|last| last.position + 1 == event.position);
        if !follows {
            *self = Self::default();
        }
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.events.len() > EVENTS || self.bytes > BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
        }
    }

    fn after(&self, after: u64, limit: usize) -> Option<Vec<Event>> {
        let (first, last) = (self.events.front()?.position, self.events.back()?.position);
        if after >= last {
            return None;
        }
        let skip = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        Some(self.events.range(skip..).take(limit).cloned().collect())
    }
}

impl Event {
    fn bytes(&self) -> usize {
        let (write, event) = self.place;
        let write = self.append.writes.get(write);
        write
            .and_then(|write| write.events.get(event))
            .map_or(0, |event| event.data.get().len())
    }

    fn recorded(&self) -> Option<RecordedEvent> {
        let write = self.append.writes.get(self.place.0)?;
        let event = write.events.get(self.place.1)?;
        Some(RecordedEvent {
            id: event.id,
            stream: write.stream.clone(),
            revision: self.revision,
            position: Position(self.position),
            kind: event.kind.clone(),
            schema_version: event.schema_version,
            at: self.at,
            data: event.data.clone(),
            meta: serde_json::from_str(&self.append.meta).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::event_store::{Append, Expected, Metadata, NewEvent, StreamId, StreamWrite};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::{
        super::decide::{Snapshot, decide},
        *,
    };

    /// Appends `count` events after `head`, each with `bytes` of payload.
    fn push(recent: &Recent, head: u64, count: usize, bytes: usize) {
        let event = |n: usize| NewEvent {
            id: Uuid::from_u128(u128::from(head) << 64 | n as u128),
            kind: ["test.Odd", "test.Even"][n % 2].to_owned(),
            schema_version: 1,
            data: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).expect("JSON"),
        };
        let write = StreamWrite {
            stream: StreamId::new("test.counter", "a"),
            expected: Expected::Any,
            events: (0..count).map(event).collect(),
        };
        let meta = Metadata {
            actor: "user:1".to_owned(),
            ..Metadata::default()
        };
        let writes = vec![write];
        let append = Arc::new(Prepared::new(Append { writes, meta }).expect("within the limits"));
        let snapshot = Snapshot {
            ends: &Default::default(),
            known: &Default::default(),
            head,
            at: OffsetDateTime::UNIX_EPOCH,
        };
        let decision = decide([&append], snapshot);
        recent.push(&decision.placed, snapshot.at);
    }

    fn page(recent: &Recent, after: u64, limit: usize) -> Option<(Vec<u64>, u64)> {
        let page = recent.page(Position(after), &Filter::all(), limit)?;
        let positions = page.events.iter().map(|event| event.position.0).collect();
        Some((positions, page.next.0))
    }

    #[test]
    fn what_follows_is_handed_out_and_nothing_else() {
        let recent = Recent::default();
        assert_eq!(page(&recent, 0, 10), None, "nothing is known");
        push(&recent, 4, 3, 1);
        assert_eq!(page(&recent, 4, 10), Some((vec![5, 6, 7], 7)));
        assert_eq!(page(&recent, 5, 1), Some((vec![6], 6)));
        assert_eq!(page(&recent, 3, 10), None, "5 is known, 4 is not");
        assert_eq!(page(&recent, 7, 10), None, "nothing follows yet");
        assert_eq!(page(&recent, u64::MAX, 10), None);
        push(&recent, 7, 1, 1);
        assert_eq!(page(&recent, 6, 10), Some((vec![7, 8], 8)));
    }

    #[test]
    fn a_gap_makes_it_start_anew() {
        let recent = Recent::default();
        push(&recent, 0, 3, 1);
        push(&recent, 4, 2, 1);
        assert_eq!(page(&recent, 0, 10), None);
        assert_eq!(page(&recent, 4, 10), Some((vec![5, 6], 6)));
        push(&recent, 1, 1, 1);
        assert_eq!(page(&recent, 1, 10), Some((vec![2], 2)), "a log that was cut");
    }

    #[test]
    fn a_filtered_page_has_looked_at_what_it_left_out() {
        let recent = Recent::default();
        push(&recent, 0, 4, 1);
        let filter = Filter {
            kind_prefixes: vec!["test.Even".to_owned()],
            ..Filter::all()
        };
        let page = recent.page(Position(0), &filter, 3).expect("known");
        assert_eq!((page.events.len(), page.next), (1, Position(3)));
        assert_eq!(page.events[0].meta.actor, "user:1");
    }

    #[test]
    fn neither_events_nor_bytes_grow_without_bound() {
        let many = Recent::default();
        for batch in 0..10 {
            push(&many, batch * 1_000, 1_000, 1);
        }
        assert_eq!(page(&many, 10_000 - EVENTS as u64 - 1, 1), None);
        assert!(page(&many, 10_000 - EVENTS as u64, 1).is_some());
        let large = Recent::default();
        for batch in 0..10 {
            push(&large, batch * 10, 10, 500_000);
        }
        assert_eq!(page(&large, 80, 1), None, "more than is kept");
        assert!(page(&large, 90, 1).is_some());
        assert!(large.tail().bytes <= BYTES);
    }
}
