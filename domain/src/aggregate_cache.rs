//! Folded aggregates that the write path keeps, so that a decision loads only what is new.
//!
//! The rule: a state in here is exactly what its stream folds into up to its revision. That can be kept
//! without asking anybody, because a log is only ever added to; whether the stream has moved on is found by
//! loading what comes after, and proved by the revision that the append expects. What this process appends it folds
//! itself, so that the state of a stream that only it writes is the newest.

use std::{
    any::TypeId,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use crate::kept::Limits;
use crate::{
    event_store::StreamId, folded::Folded, kept::Kept, predicted::Predicted, write_queue::WriteQueue,
};

/// When a load began, see [`AggregateCache::keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// The states of one log's streams; clones share them. Belongs to one [`crate::event_store::EventStore`].
///
/// What was used longest ago is dropped first. Nothing in here has to be kept: an empty cache only makes
/// decisions slower.
#[derive(Clone, Default)]
pub struct AggregateCache(Arc<Shared>);

#[derive(Default)]
struct Shared {
    limits: Limits,
    kept: Mutex<Kept>,
    /// Streams without events, apart from the others: any id names one, so they come and go in numbers.
    empty: Mutex<Kept>,
    /// Who loads what is not kept.
    loading: WriteQueue,
    /// What will be, once the appends under way are recorded.
    predicted: Predicted,
}

impl AggregateCache {
    /// A cache that keeps at most `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            kept: Mutex::default(),
            empty: Mutex::default(),
            loading: WriteQueue::default(),
            predicted: Predicted::default(),
        }))
    }

    /// To be taken before the events are loaded that lead to what is kept.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.kept().forgotten)
    }

    /// What `stream` folds into, if it is known and of the aggregate type `kind`.
    pub(crate) fn get(&self, stream: &StreamId, kind: TypeId) -> Option<Folded> {
        let found = self.kept().get(stream, self.0.limits);
        let found = found.or_else(|| self.empty().get(stream, self.empties()));
        found.filter(|folded| folded.kind() == kind)
    }

    /// Keeps what `stream` folds into, unless something was forgotten since `ticket`: what was loaded before
    /// may hold what had to be forgotten. Of two states of one type the further one stays, of two that are as far the one
    /// that is not known to be behind.
    pub(crate) fn keep(&self, ticket: Ticket, stream: &StreamId, folded: &Folded) {
        let mut kept = self.kept();
        if ticket != Ticket(kept.forgotten) || folded.unproved.is_some() {
            return;
        }
        let known = kept.known(stream);
        let stays = |known: &Folded| {
            let as_far = known.revision == folded.revision && (!known.behind || folded.behind);
            known.kind() == folded.kind() && (known.revision > folded.revision || as_far)
        };
        if known.is_some_and(stays) {
            return;
        }
        if folded.revision.is_none() {
            self.empty()
                .insert(stream.clone(), folded.clone(), self.empties());
            return;
        }
        kept.insert(stream.clone(), folded.clone(), self.0.limits);
        drop(kept);
        self.empty().remove(stream);
    }

    /// Forgets `stream`, also what is being loaded of it at this moment. To be called after personal data in
    /// it were erased, in each process.
    pub fn forget(&self, stream: &StreamId) {
        let mut kept = self.kept();
        kept.forgotten += 1;
        kept.remove(stream);
    }

    /// Forgets everything, also what is being loaded at this moment.
    pub fn clear(&self) {
        let mut kept = self.kept();
        kept.clear();
        kept.forgotten += 1;
        self.empty().clear();
    }

    /// Forgets `stream` if what is kept lies beyond `actual`, where its log ends: then it is of another log.
    pub(crate) fn forget_beyond(&self, stream: &StreamId, actual: Option<u64>) {
        let mut kept = self.kept();
        if kept.known(stream).is_some_and(|known| known.revision > actual) {
            kept.forgotten += 1;
            kept.remove(stream);
        }
    }

    /// Notes that `stream` has moved on: what is kept is gone on from, and not decided on as it is.
    pub(crate) fn outdate(&self, stream: &StreamId) {
        self.kept().outdate(stream);
        self.empty().outdate(stream);
    }

    /// Whether a further state of `stream` than `revision` is kept.
    pub(crate) fn is_further(&self, stream: &StreamId, revision: Option<u64>) -> bool {
        let further = |known: &Folded| known.behind || known.revision > revision;
        self.kept().known(stream).is_some_and(further) || self.empty().known(stream).is_some_and(further)
    }

    /// The states after appends that are under way. They are not kept here before they are recorded.
    pub(crate) fn predicted(&self) -> &Predicted {
        &self.0.predicted
    }

    /// The queues of those who load what is not kept.
    pub(crate) fn loading(&self) -> &WriteQueue {
        &self.0.loading
    }

    /// How many streams are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        let kept = self.kept();
        kept.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No step below can panic half way.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locked after [`AggregateCache::kept`], never before.
    fn empty(&self) -> MutexGuard<'_, Kept> {
        self.0.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn empties(&self) -> Limits {
        let Limits { entries, bytes } = self.0.limits;
        Limits {
            entries: entries / 4,
            bytes: bytes / 4,
        }
    }
}

impl std::fmt::Debug for AggregateCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // States may hold personal data.
        f.debug_struct("AggregateCache")
            .field("streams", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{any::TypeId, sync::Arc};

    use super::{AggregateCache, Folded, Limits, StreamId};
    use crate::folded::OVERHEAD;

    fn folded(revision: u64, bytes: usize) -> Folded {
        Folded {
            state: Arc::new(revision),
            revision: Some(revision),
            bytes,
            behind: false,
            unproved: None,
        }
    }

    fn stream(key: u64) -> StreamId {
        StreamId::new("test.counter", &key.to_string())
    }

    fn found(cache: &AggregateCache, key: u64) -> Option<u64> {
        cache
            .get(&stream(key), TypeId::of::<u64>())
            .and_then(|folded| folded.revision)
    }

    #[test]
    fn of_two_states_the_further_one_stays() {
        let cache = AggregateCache::default();
        for revision in [3, 5, 4] {
            cache.keep(cache.ticket(), &stream(1), &folded(revision, 10));
        }
        assert_eq!(found(&cache, 1), Some(5));
    }

    #[test]
    fn the_state_of_another_type_is_never_handed_out() {
        let cache = AggregateCache::default();
        cache.keep(cache.ticket(), &stream(1), &folded(7, 10));
        assert!(cache.get(&stream(1), TypeId::of::<String>()).is_none());
        let text = Folded {
            state: Arc::new("text".to_owned()),
            revision: Some(2),
            bytes: 10,
            behind: false,
            unproved: None,
        };
        cache.keep(cache.ticket(), &stream(1), &text);
        assert!(cache.get(&stream(1), TypeId::of::<String>()).is_some());
        assert_eq!(found(&cache, 1), None);
    }

    #[test]
    fn what_has_moved_on_is_known_to_be_behind_until_it_is_brought_up_to_date() {
        let cache = AggregateCache::default();
        cache.keep(cache.ticket(), &stream(1), &folded(3, 10));
        cache.outdate(&stream(1));
        cache.outdate(&stream(2));
        let behind = |cache: &AggregateCache| {
            cache
                .get(&stream(1), TypeId::of::<u64>())
                .map(|known| known.behind)
        };
        assert_eq!(behind(&cache), Some(true));
        assert!(cache.is_further(&stream(1), Some(3)) && !cache.is_further(&stream(2), None));
        cache.keep(cache.ticket(), &stream(1), &folded(4, 10));
        assert_eq!(behind(&cache), Some(false));
        assert!(!cache.is_further(&stream(1), Some(4)) && cache.is_further(&stream(1), Some(3)));
    }

    #[test]
    fn that_a_stream_has_no_events_is_kept_apart_until_it_has_some() {
        let cache = AggregateCache::new(Limits {
            entries: 64,
            bytes: usize::MAX,
        });
        let empty = Folded {
            revision: None,
            ..folded(0, 0)
        };
        cache.keep(cache.ticket(), &stream(1), &folded(3, 10));
        let known = |key| {
            let known = cache.get(&stream(key), TypeId::of::<u64>());
            known.map(|known| (known.revision, known.behind))
        };
        for key in 1..100 {
            cache.keep(cache.ticket(), &stream(key), &empty);
        }
        assert_eq!(known(99), Some((None, false)));
        assert_eq!(known(2), None, "the oldest of many has gone");
        assert_eq!(
            known(1),
            Some((Some(3), false)),
            "what has events is not driven out by them"
        );
        cache.outdate(&stream(99));
        assert_eq!(known(99), Some((None, true)));
        assert!(cache.is_further(&stream(99), None) && !cache.is_further(&stream(98), None));
        cache.keep(cache.ticket(), &stream(99), &folded(0, 10));
        assert_eq!(known(99), Some((Some(0), false)));
        cache.clear();
        assert_eq!(known(98), None);
    }

    /// AU-7: what is loaded while personal data are erased does not come back.
    #[test]
    fn what_was_loaded_before_forgetting_is_not_kept() {
        let cache = AggregateCache::default();
        for forget in [
            |cache: &AggregateCache| cache.forget(&stream(1)),
            AggregateCache::clear,
        ] {
            cache.keep(cache.ticket(), &stream(1), &folded(1, 10));
            let before = cache.ticket();
            forget(&cache);
            assert_eq!(found(&cache, 1), None);
            cache.keep(before, &stream(1), &folded(1, 10));
            assert_eq!(found(&cache, 1), None);
        }
    }

    #[test]
    fn only_what_lies_beyond_the_log_is_forgotten_by_a_conflict() {
        let cache = AggregateCache::default();
        cache.keep(cache.ticket(), &stream(1), &folded(5, 10));
        for actual in [Some(6), Some(5)] {
            cache.forget_beyond(&stream(1), actual);
            assert_eq!(found(&cache, 1), Some(5));
        }
        cache.forget_beyond(&stream(1), Some(4));
        assert_eq!(found(&cache, 1), None);
    }

    #[test]
    fn entries_and_bytes_stay_within_the_limits_and_what_is_used_stays() {
        let by_entries = AggregateCache::new(Limits {
            entries: 10,
            bytes: usize::MAX,
        });
        let by_bytes = AggregateCache::new(Limits {
            entries: usize::MAX,
            bytes: 10 * (1_000 + OVERHEAD),
        });
        for cache in [by_entries, by_bytes] {
            for key in 0..100 {
                cache.keep(cache.ticket(), &stream(key), &folded(key, 1_000));
                assert_eq!(found(&cache, 0), Some(0), "used all the time");
                assert!(cache.len() <= 10, "{}", cache.len());
            }
            assert_eq!(found(&cache, 1), None, "used longest ago");
        }
    }

    #[test]
    fn a_stream_that_alone_breaks_the_limit_is_kept_alone() {
        let cache = AggregateCache::new(Limits {
            entries: 10,
            bytes: 1,
        });
        for key in 0..10 {
            cache.keep(cache.ticket(), &stream(key), &folded(key, 1_000));
            assert_eq!(found(&cache, key), Some(key));
            assert!(cache.len() <= 2);
        }
    }
}
