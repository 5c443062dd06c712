//! The log itself: what is recorded, and whether an append may be.
//!
//! The rule: pure and whole; faults lie around it, and a planted [`Defect`] is the only thing that makes it lie.

use std::collections::BTreeMap;

use domain::event_store::{
    Append, AppendError, Appended, Expected, Filter, NewEvent, Page, Position, RecordedEvent, StreamId,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Defect;

/// Between two events: positions are opaque, and whoever counts with them shall notice here.
const STRIDE: u64 = 16;

/// Every event, and where to find it.
#[derive(Default)]
pub(super) struct Log {
    events: Vec<RecordedEvent>,
    streams: BTreeMap<StreamId, Vec<usize>>,
    ids: BTreeMap<Uuid, usize>,
}

impl Log {
    pub(super) fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    pub(super) fn head(&self) -> Position {
        self.events.last().map_or(Position::START, |event| event.position)
    }

    pub(super) fn load(&self, stream: &StreamId, revision: u64) -> Vec<RecordedEvent> {
        let from = usize::try_from(revision).unwrap_or(usize::MAX);
        let indices = self.streams.get(stream).and_then(|indices| indices.get(from..));
        let events = indices.unwrap_or_default().iter();
        events
            .filter_map(|index| self.events.get(*index).cloned())
            .collect()
    }

    pub(super) fn page(&self, after: Position, filter: &Filter, limit: usize) -> Page {
        let from = self.events.partition_point(|event| event.position <= after);
        let looked = self.events.iter().skip(from).take(limit.max(1));
        Page {
            next: looked.clone().next_back().map_or(after, |event| event.position),
            events: looked.filter(|event| filter.matches(event)).cloned().collect(),
        }
    }

    /// Records `append` at `now`, or answers as for its first time.
    pub(super) fn append(
        &mut self,
        append: &Append,
        now: OffsetDateTime,
        defect: Option<Defect>,
    ) -> Result<Appended, AppendError> {
        if defect != Some(Defect::ForgetsIds)
            && let Some(answer) = self.recorded_before(append)
        {
            return answer;
        }
        if defect != Some(Defect::IgnoresExpectations) {
            self.check(append)?;
        }
        let at = self.events.last().map_or(now, |last| last.at.max(now));
        if defect == Some(Defect::LosesAcknowledged) {
            let position = Position(self.head().0 + STRIDE);
            return Ok(Appended { position, at });
        }
        let streams = match defect {
            Some(Defect::SplitsAppends) => 1,
            _ => append.writes.len(),
        };
        let written = append.writes.iter().filter(|write| !write.events.is_empty());
        for write in written.take(streams) {
            for event in &write.events {
                self.push(&write.stream, event, append, at);
            }
        }
        let position = self.head();
        Ok(Appended { position, at })
    }

    fn push(&mut self, stream: &StreamId, event: &NewEvent, append: &Append, at: OffsetDateTime) {
        let index = self.events.len();
        let history = self.streams.entry(stream.clone()).or_default();
        let recorded = RecordedEvent {
            id: event.id,
            stream: stream.clone(),
            revision: history.len() as u64,
            position: Position((index as u64 + 1) * STRIDE),
            kind: event.kind.clone(),
            schema_version: event.schema_version,
            at,
            data: event.data.clone(),
            meta: append.meta.clone(),
        };
        history.push(index);
        self.ids.insert(event.id, index);
        self.events.push(recorded);
    }

    /// The first answer when all its events are recorded; a refusal when their ids are taken otherwise.
    fn recorded_before(&self, append: &Append) -> Option<Result<Appended, AppendError>> {
        let (mut last, mut taken, mut fresh) = (None::<&RecordedEvent>, None, false);
        for write in &append.writes {
            for event in &write.events {
                let known = self.ids.get(&event.id).and_then(|index| self.events.get(*index));
                match known {
                    None => fresh = true,
                    Some(known) if same(known, &write.stream, event) => {
                        taken = Some(event.id);
                        last = last.filter(|last| last.position > known.position).or(Some(known));
                    }
                    Some(_) => return Some(Err(AppendError::IdReused { id: event.id })),
                }
            }
        }
        match taken {
            Some(id) if fresh => Some(Err(AppendError::IdReused { id })),
            _ => last.map(|last| {
                Ok(Appended {
                    position: last.position,
                    at: last.at,
                })
            }),
        }
    }

    fn check(&self, append: &Append) -> Result<(), AppendError> {
        for write in &append.writes {
            let history = self.streams.get(&write.stream);
            let actual = (history.map_or(0, Vec::len) as u64).checked_sub(1);
            let last = history.and_then(|history| self.events.get(*history.last()?));
            let stands = match write.expected {
                Expected::Any => true,
                Expected::NoStream => actual.is_none(),
                Expected::Exact(revision) => actual == Some(revision),
                Expected::At { revision, id } => {
                    actual == Some(revision) && last.is_some_and(|last| last.id == id)
                }
            };
            if !stands {
                let stream = write.stream.clone();
                return Err(AppendError::Conflict { stream, actual });
            }
        }
        Ok(())
    }
}

fn same(known: &RecordedEvent, stream: &StreamId, event: &NewEvent) -> bool {
    known.stream == *stream
        && known.kind == event.kind
        && known.schema_version == event.schema_version
        && known.data.get() == event.data.get()
}
