//! The streams that a decision reads, and how they fold.
//!
//! One rule: a stream is read as one aggregate, which tells its states apart by their type.

use std::{any::TypeId, collections::BTreeMap, sync::Arc};

use crate::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::{RecordedEvent, StreamId},
    folded::Folded,
};

/// Folds `events` onto the cached state, whose type the caller has checked.
fn fold<A: Aggregate>(known: Option<Folded>, events: &[RecordedEvent]) -> Result<Folded, DecodeError> {
    let known = known.unwrap_or_else(|| Folded {
        state: Arc::new(A::default()),
        revision: None,
        bytes: 0,
        behind: false,
        unproved: None,
    });
    let Some(last) = events.last() else {
        return Ok(Folded {
            behind: false,
            ..known
        });
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
        behind: false,
        unproved: None,
    })
}

/// How a stream is read.
#[derive(Clone, Copy)]
pub(crate) struct StreamRead {
    kind: TypeId,
    pub(crate) fold: fn(Option<Folded>, &[RecordedEvent]) -> Result<Folded, DecodeError>,
    /// Whether it is one that the command makes.
    made: bool,
}

/// The streams that a command reads.
#[derive(Default)]
pub struct ReadSet(pub(crate) BTreeMap<StreamId, StreamRead>);

impl ReadSet {
    /// Adds the aggregate `A` under `key`.
    pub fn read<A: Aggregate>(&mut self, key: impl std::fmt::Display) -> &mut Self {
        self.add::<A>(key, false)
    }

    /// As [`ReadSet::read`], for a stream that begins with what the command records. As long as nothing speaks against it,
    /// it is taken to be empty without a look at the log, for the append finds out.
    pub fn make<A: Aggregate>(&mut self, key: impl std::fmt::Display) -> &mut Self {
        self.add::<A>(key, true)
    }

    fn add<A: Aggregate>(&mut self, key: impl std::fmt::Display, made: bool) -> &mut Self {
        let read = StreamRead {
            kind: TypeId::of::<A>(),
            fold: fold::<A>,
            made,
        };
        self.0.insert(A::stream(key), read);
        self
    }

    /// Adds what `other` reads.
    pub(crate) fn extend(&mut self, other: &Self) {
        let reads = other.0.iter().map(|(stream, read)| (stream.clone(), *read));
        self.0.extend(reads);
    }

    /// The aggregate type that `stream` is read as.
    pub(crate) fn kind(&self, stream: &StreamId) -> Option<TypeId> {
        self.0.get(stream).map(|read| read.kind)
    }

    /// Whether `stream` is one that the command makes.
    pub(crate) fn is_made(&self, stream: &StreamId) -> bool {
        self.0.get(stream).is_some_and(|read| read.made)
    }
}
