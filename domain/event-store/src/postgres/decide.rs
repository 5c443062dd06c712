//! What becomes of each append of a batch, decided in memory.
//!
//! The rule: pure, and in order of arrival. Each append sees the log as the accepted ones before it leave
//! it; a refused one leaves no trace.

use std::{collections::HashMap, sync::Arc};

use domain::event_store::{AppendError, Appended, Expected, Position, StreamId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::integrity::{Digest, Link};
use crate::prepared::{Content, Prepared, PreparedEvent, PreparedWrite};

/// The last event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) revision: u64,
    /// Known of what this process wrote.
    pub(super) id: Option<Uuid>,
}

/// The last events of streams, as far as known; `None`: the stream has no events.
pub(super) type Ends = HashMap<StreamId, Option<Last>>;

/// An event that is in the log already.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) kind: String,
    pub(super) schema_version: u16,
    pub(super) data_hash: Digest,
    pub(super) landed: Appended,
}

impl Known {
    fn content(&self) -> Content<'_> {
        Content {
            stream: &self.stream,
            kind: &self.kind,
            schema_version: self.schema_version,
            data_hash: &self.data_hash,
        }
    }
}

/// What the writer remembers of the log between batches.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Streams that were asked for.
    pub(super) ends: Ends,
    /// The head as this process left it.
    left_at: Option<u64>,
}

impl Memory {
    /// Streams that are remembered at most.
    const STREAMS: usize = 100_000;

    /// Forgets the streams when the head is elsewhere, because then another process has appended.
    pub(super) fn stand_at(&mut self, head: u64) {
        if self.left_at != Some(head) || self.ends.len() > Self::STREAMS {
            self.forget();
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
        self.left_at = None;
    }

    /// Keeps what a committed batch has moved.
    pub(super) fn keep<'a>(&mut self, head: u64, moved: impl IntoIterator<Item = (&'a StreamId, Last)>) {
        self.left_at = Some(head);
        for (stream, last) in moved {
            self.ends.insert(stream.clone(), Some(last));
        }
    }
}

/// The snapshot of the log that a batch is decided on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot<'r, 'k> {
    /// Must know every stream that the batch names.
    pub(super) ends: &'r Ends,
    /// Events of the log that share ids with the batch, or are expected by it, as far as they were looked up.
    pub(super) known: &'k HashMap<Uuid, Known>,
    /// The last position in the log.
    pub(super) head: u64,
    /// The time that the batch gets.
    pub(super) at: OffsetDateTime,
}

/// An event with the place that it gets.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) position: u64,
    pub(super) revision: u64,
    pub(super) stream: &'a StreamId,
    pub(super) event: &'a PreparedEvent,
    pub(super) append: &'a Arc<Prepared>,
    /// Which write of the append, and which event of that.
    pub(super) place: (usize, usize),
}

impl Placed<'_> {
    /// What its link in the chain covers.
    pub(super) fn link(&self, at: OffsetDateTime) -> Link<'_> {
        Link {
            position: self.position,
            id: self.event.id,
            stream: self.stream.as_str(),
            revision: self.revision,
            kind: &self.event.kind,
            schema_version: self.event.schema_version,
            at,
            data_hash: &self.event.data_hash,
            meta_hash: &self.append.meta_hash,
        }
    }
}

/// The outcome for a batch.
#[derive(Debug, Default)]
pub(super) struct Decision<'a> {
    /// One answer per append, in order.
    pub(super) answers: Vec<Result<Appended, AppendError>>,
    /// What is to be recorded, in order of position.
    pub(super) placed: Vec<Placed<'a>>,
    /// The last events of the streams that are written to.
    pub(super) moved: HashMap<&'a StreamId, Last>,
    /// Ids of the batch that were given places, by what they stand for.
    taken: HashMap<Uuid, (Content<'a>, Appended)>,
}

/// Decides `batch` on `snapshot`.
pub(super) fn decide<'a>(
    batch: impl IntoIterator<Item = &'a Arc<Prepared>>,
    snapshot: Snapshot<'_, '_>,
) -> Decision<'a> {
    let mut decision = Decision::default();
    for append in batch {
        let answer = match decision.recorded_before(append, snapshot) {
            Some(answer) => answer,
            None => match decision.first_conflict(append, snapshot) {
                Some(conflict) => Err(conflict),
                None => Ok(decision.place(append, snapshot)),
            },
        };
        decision.answers.push(answer);
    }
    decision
}

impl<'a> Decision<'a> {
    fn end(&self, stream: &StreamId, snapshot: Snapshot<'_, '_>) -> Option<Last> {
        self.moved
            .get(stream)
            .copied()
            .or_else(|| snapshot.ends.get(stream).copied().flatten())
    }

    /// The first result, when all its events are recorded already; a refusal, when some ids are taken
    /// otherwise; nothing, when none is known.
    fn recorded_before(
        &self,
        append: &Prepared,
        snapshot: Snapshot<'_, '_>,
    ) -> Option<Result<Appended, AppendError>> {
        let mut last: Option<Appended> = None;
        let mut taken = None;
        let mut fresh = false;
        for PreparedWrite { stream, events, .. } in &append.writes {
            for event in events {
                match self.earlier(event.id, snapshot) {
                    None => fresh = true,
                    Some((content, landed)) if content == event.content(stream) => {
                        taken = Some(event.id);
                        last = last
                            .filter(|last| last.position > landed.position)
                            .or(Some(landed));
                    }
                    Some(_) => return Some(Err(AppendError::IdReused { id: event.id })),
                }
            }
        }
        match taken {
            // Part of it is recorded: it was another append that recorded that part.
            Some(id) if fresh => Some(Err(AppendError::IdReused { id })),
            _ => last.map(Ok),
        }
    }

    fn earlier<'k>(&self, id: Uuid, snapshot: Snapshot<'_, 'k>) -> Option<(Content<'k>, Appended)>
    where
        'a: 'k,
    {
        let known = || {
            snapshot
                .known
                .get(&id)
                .map(|known| (known.content(), known.landed))
        };
        self.taken.get(&id).copied().or_else(known)
    }

    fn first_conflict(&self, append: &Prepared, snapshot: Snapshot<'_, '_>) -> Option<AppendError> {
        append.writes.iter().find_map(|write| {
            let last = self.end(&write.stream, snapshot);
            let actual = last.map(|last| last.revision);
            let stands = match write.expected {
                Expected::Any => true,
                Expected::NoStream => actual.is_none(),
                Expected::Exact(revision) => actual == Some(revision),
                Expected::At { revision, id } => {
                    let is_known = || {
                        let known = snapshot.known.get(&id);
                        known.is_some_and(|known| {
                            known.stream == write.stream.as_str() && known.revision == revision
                        })
                    };
                    let stands_at = last.and_then(|last| last.id);
                    actual == Some(revision) && stands_at.map_or_else(is_known, |last| last == id)
                }
            };
            (!stands).then(|| AppendError::Conflict {
                stream: write.stream.clone(),
                actual,
            })
        })
    }

    fn place(&mut self, append: &'a Arc<Prepared>, snapshot: Snapshot<'_, '_>) -> Appended {
        let first = self.placed.len();
        for (write, PreparedWrite { stream, events, .. }) in append.writes.iter().enumerate() {
            for (index, event) in events.iter().enumerate() {
                let revision = self.end(stream, snapshot).map_or(0, |last| last.revision + 1);
                let position = snapshot.head + self.placed.len() as u64 + 1;
                let id = Some(event.id);
                self.moved.insert(stream, Last { revision, id });
                self.placed.push(Placed {
                    position,
                    revision,
                    stream,
                    event,
                    append,
                    place: (write, index),
                });
            }
        }
        let position = Position(snapshot.head + self.placed.len() as u64);
        let landed = Appended {
            position,
            at: snapshot.at,
        };
        for placed in &self.placed[first..] {
            let own = Appended {
                position: Position(placed.position),
                at: snapshot.at,
            };
            self.taken
                .insert(placed.event.id, (placed.event.content(placed.stream), own));
        }
        landed
    }
}
