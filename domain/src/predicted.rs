//! States that streams will have once the appends are recorded that are under way.
//!
//! One rule: what is decided on such a state names the event that leads to it ([`crate::event_store::Expected::At`]), so that
//! it is recorded after that very event or not at all. When an append fails, what was predicted of its streams is forgotten
//! altogether: it was decided on what did not come about.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{event_store::StreamId, folded::Folded};

/// The predicted states of one log's streams; clones share them. Holds as many as appends that are under way write.
#[derive(Clone, Default)]
pub(crate) struct Predicted(Arc<Mutex<HashMap<StreamId, Folded>>>);

impl Predicted {
    /// What `stream` will fold into, if something is under way to it and it is of the aggregate type `kind`.
    pub(crate) fn get(&self, stream: &StreamId, kind: TypeId) -> Option<Folded> {
        let states = self.states();
        states.get(stream).filter(|folded| folded.kind() == kind).cloned()
    }

    /// Whether a further state of `stream` than `revision` is predicted.
    pub(crate) fn is_further(&self, stream: &StreamId, revision: Option<u64>) -> bool {
        let states = self.states();
        states
            .get(stream)
            .is_some_and(|folded| folded.revision > revision)
    }

    /// Predicts `folded`, the states after an append that has begun, until that is known to be recorded or has failed.
    pub(crate) fn begin(&self, folded: Vec<(StreamId, Folded)>) -> UnderWay {
        self.states().extend(folded.iter().cloned());
        UnderWay {
            predicted: self.clone(),
            folded,
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<StreamId, Folded>> {
        // No step under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An append that has begun. Dropped, it has failed, or nobody knows.
#[must_use = "dropped, it counts as failed"]
pub(crate) struct UnderWay {
    predicted: Predicted,
    folded: Vec<(StreamId, Folded)>,
}

impl UnderWay {
    /// What `stream` folds into when it was recorded as it was predicted; to be kept before [`UnderWay::end`].
    pub(crate) fn proved(&self, stream: &StreamId) -> Option<Folded> {
        let (_, folded) = self.folded.iter().find(|(written, _)| written == stream)?;
        Some(Folded {
            unproved: None,
            ..folded.clone()
        })
    }

    /// Ends it as recorded: what was predicted further on stays.
    pub(crate) fn end(mut self) {
        let mut states = self.predicted.states();
        for (stream, folded) in self.folded.drain(..) {
            if states
                .get(&stream)
                .is_some_and(|newest| newest.unproved == folded.unproved)
            {
                states.remove(&stream);
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.folded.is_empty() {
            return;
        }
        let mut states = self.predicted.states();
        for (stream, _) in &self.folded {
            states.remove(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{any::TypeId, sync::Arc};

    use uuid::Uuid;

    use super::{Folded, Predicted, StreamId};

    fn state(revision: u64) -> (StreamId, Folded) {
        let folded = Folded {
            state: Arc::new(revision),
            revision: Some(revision),
            bytes: 10,
            behind: false,
            unproved: Some(Uuid::from_u128(revision.into())),
        };
        (StreamId::new("test.counter", "a"), folded)
    }

    fn found(predicted: &Predicted) -> Option<u64> {
        let (stream, _) = state(0);
        predicted.get(&stream, TypeId::of::<u64>())?.revision
    }

    #[test]
    fn what_is_recorded_is_no_longer_predicted_and_what_follows_it_is() {
        let predicted = Predicted::default();
        let (first, second) = (predicted.begin(vec![state(1)]), predicted.begin(vec![state(2)]));
        assert_eq!(found(&predicted), Some(2));
        let proved = first.proved(&state(1).0).expect("predicted");
        assert_eq!((proved.revision, proved.unproved), (Some(1), None));
        first.end();
        assert_eq!(found(&predicted), Some(2));
        second.end();
        assert_eq!(found(&predicted), None);
    }

    #[test]
    fn nothing_is_predicted_on_an_append_that_failed() {
        let predicted = Predicted::default();
        let (first, second) = (predicted.begin(vec![state(1)]), predicted.begin(vec![state(2)]));
        drop(first);
        assert_eq!(found(&predicted), None);
        second.end();
        assert_eq!(found(&predicted), None);
    }
}
