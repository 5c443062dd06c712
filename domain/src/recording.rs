//! Whether the log takes what is appended to it.
//!
//! The rule: this is known from the last append alone and at no cost; nobody writes to find it out.

use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use crate::event_store::{AppendError, Appended, StoreError};

/// An append that the log refused for a reason that lasts: no room, read-only, damaged.
#[derive(Clone, Debug)]
pub struct RecordingFailure {
    /// The reason.
    pub error: StoreError,
    /// When it was refused last.
    pub at: OffsetDateTime,
}

/// How the last append ended. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<Option<RecordingFailure>>>);

impl Recording {
    /// Why the last append was refused; `None` as soon as one was recorded.
    #[must_use]
    pub fn failure(&self) -> Option<RecordingFailure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how an append ended `at`. What is decided by other writers or by the append itself says nothing about the
    /// log, and a connection that broke says so where it is looked at.
    pub fn note(&self, answer: &Result<Appended, AppendError>, at: OffsetDateTime) {
        let failure = match answer {
            Ok(_) => None,
            Err(AppendError::Store(StoreError::Unavailable(_))) => return,
            Err(AppendError::Store(error)) => Some(RecordingFailure {
                error: error.clone(),
                at,
            }),
            Err(_) => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::Recording;
    use crate::event_store::{AppendError, Appended, Position, StoreError};

    #[test]
    fn a_lasting_failure_is_known_until_something_is_recorded() {
        let (recording, at) = (Recording::default(), OffsetDateTime::UNIX_EPOCH);
        recording.note(&Err(StoreError::Full("no space".to_owned()).into()), at);
        for other in [
            AppendError::Overloaded,
            AppendError::Store(StoreError::Unavailable("gone".to_owned())),
        ] {
            recording.note(&Err(other), at);
        }
        let failure = recording.clone().failure().expect("known");
        assert!(matches!(failure.error, StoreError::Full(_)), "{failure:?}");
        let position = Position(1);
        recording.note(&Ok(Appended { position, at }), at);
        assert!(recording.failure().is_none());
    }
}
