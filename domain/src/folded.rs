//! What a stream folds into, up to a revision.
//!
//! One rule: it is exact; or it says which event it needs at its end to be so.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use uuid::Uuid;

use crate::event_store::Expected;

/// What an entry takes besides its state: names, maps, counters. A rough figure.
pub(crate) const OVERHEAD: usize = 256;
/// An entry counts as this many bytes at most: long histories mostly fold into little.
const HEAVIEST: usize = 1 << 20;

/// What a stream folds into, up to a revision. Cheap to clone.
#[derive(Clone)]
pub struct Folded {
    pub(crate) state: Arc<dyn Any + Send + Sync>,
    /// Of the last event; `None` for a stream without any.
    pub(crate) revision: Option<u64>,
    /// Bytes of the payloads that were folded: an upper bound of what most states hold.
    pub(crate) bytes: usize,
    /// Whether the stream is known to have moved on.
    pub(crate) behind: bool,
    /// The id of the last event, if it is not known yet that it was recorded.
    pub(crate) unproved: Option<Uuid>,
}

impl Folded {
    /// The type of the aggregate.
    pub(crate) fn kind(&self) -> TypeId {
        (*self.state).type_id()
    }

    /// Roughly the bytes that it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.saturating_add(OVERHEAD).min(HEAVIEST)
    }

    /// Where the stream must stand for it to be so.
    pub(crate) fn expected(&self) -> Expected {
        match (self.revision, self.unproved) {
            (Some(revision), Some(id)) => Expected::At { revision, id },
            (revision, _) => Expected::after(revision),
        }
    }
}
