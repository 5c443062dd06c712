//! The collector's work on the object store: every object that it deletes is named in an event (OP-10).
//!
//! One rule: the event is recorded before the object is deleted.

use crate::{
    aggregate::{Aggregate, event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    payload::Leaves,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Objects that one event names at most.
pub const OBJECTS: usize = 100;

/// What was collected. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct Collections;

/// An object that no event refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct CollectedObject {
    /// Its key in the object store.
    #[plain]
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub written: OffsetDateTime,
}

/// Events about the object store.
#[event(context = "audit", subject = nobody)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionEvent {
    /// Objects that no event refers to are deleted. Of what is named by two of these events, the deletion failed, or its
    /// process ended, after the first.
    #[event(name = "ObjectsCollected")]
    Collected {
        /// Which; at most [`OBJECTS`].
        objects: Vec<CollectedObject>,
    },
}

impl Aggregate for Collections {
    const CATEGORY: &'static str = "audit.collections";
    type Event = CollectionEvent;
    fn evolve(&mut self, _: &CollectionEvent) {}
}

/// Records that objects are being deleted.
#[derive(Clone, Debug)]
pub struct CollectObjects {
    /// Which. None of them records nothing.
    pub objects: Vec<CollectedObject>,
}

impl Command for CollectObjects {
    type Refusal = std::convert::Infallible;

    fn reads(&self, _: &LoadedState, _: &mut ReadSet) {}

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::System
    }

    fn decide(&self, _: &LoadedState, _: &Context<'_>) -> Decision<Self::Refusal> {
        if self.objects.is_empty() {
            return Ok(NewEvents::none());
        }
        let objects = self.objects.clone();
        let collected = CollectionEvent::Collected { objects };
        Ok(NewEvents::record::<Collections>("objects", &collected))
    }
}
