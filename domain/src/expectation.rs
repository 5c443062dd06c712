//! The version of a thing that a client expects (GQ-2): a change is refused when the thing has changed since.
//!
//! One rule: the expectation is part of what a command reads, so the append proves it at the exact revision.

use crate::{
    aggregate::Aggregate,
    decision::{LoadedState, ReadSet},
};

/// The expected version of a thing: how many events have been recorded about it.
#[derive(Default)]
pub struct Expectation {
    version: u64,
    streams: ReadSet,
}

impl Expectation {
    /// Expects as many events in the streams that are added by [`Expectation::of`].
    #[must_use]
    pub fn version(version: u64) -> Self {
        Self {
            version,
            streams: ReadSet::default(),
        }
    }

    /// Counts the events of the aggregate `A` under `key`.
    #[must_use]
    pub fn of<A: Aggregate>(mut self, key: impl std::fmt::Display) -> Self {
        self.streams.read::<A>(key);
        self
    }

    /// Adds the streams that are counted to those that are read.
    pub(crate) fn reads(&self, reads: &mut ReadSet) {
        reads.extend(&self.streams);
    }

    /// Whether the thing has the expected version.
    pub(crate) fn holds(&self, loaded: &LoadedState) -> bool {
        loaded.events_in(&self.streams) == self.version
    }
}
