//! Whether the log takes what is appended to it, and whether its time is right.
//!
//! The rule: this is known from the last append alone and at no cost; nobody writes to find it out.
//!
//! Times never decrease along the log. After a clock that was ahead, events get the last time of the log until the clock
//! has come there, so times say less than positions do; who looks after the system is told ([`Recording::ahead`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::event_store::{AppendError, Appended, StoreError};

/// An append that the log refused for a reason that lasts: no room, read-only, damaged.
#[derive(Clone, Debug)]
pub struct RecordingFailure {
    /// The reason.
    pub error: StoreError,
    /// When it was refused last.
    pub at: OffsetDateTime,
}

/// By how much the log's time may be ahead of the clock: clocks of several processes are not the same.
pub const TOLERANCE: Duration = Duration::seconds(2);

/// The log's time is ahead of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAhead {
    /// The last time in the log, which events get until the clock has come there.
    pub last: OffsetDateTime,
    /// By how much.
    pub by: Duration,
}

impl std::fmt::Display for LogAhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the log's last time, {}, is {} s ahead of the clock: events get that time until the clock has come there; \
             see that the clock is right (NTP), and rely on positions, not times, of events of this span",
            self.last,
            self.by.whole_seconds()
        )
    }
}

/// How the last append ended. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failure: Option<RecordingFailure>,
    last: Option<OffsetDateTime>,
}

impl Recording {
    /// Why the last append was refused; `None` as soon as one was recorded.
    #[must_use]
    pub fn failure(&self) -> Option<RecordingFailure> {
        self.state().failure.clone()
    }

    /// Whether the log's time is ahead of the clock, which says `now`.
    #[must_use]
    pub fn ahead(&self, now: OffsetDateTime) -> Option<LogAhead> {
        let last = self.state().last?;
        let by = last - now;
        (by > TOLERANCE).then_some(LogAhead { last, by })
    }

    /// Notes the time of the last event, as it was read.
    pub fn note_last(&self, at: OffsetDateTime) {
        let mut state = self.state();
        state.last = Some(state.last.map_or(at, |last| last.max(at)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how an append ended `at`. What is decided by other writers or by the append itself says nothing about the
    /// log, and a connection that broke says so where it is looked at.
    pub fn note(&self, answer: &Result<Appended, AppendError>, at: OffsetDateTime) {
        let failure = match answer {
            Ok(appended) => {
                self.note_last(appended.at);
                None
            }
            Err(AppendError::Store(StoreError::Unavailable(_))) => return,
            Err(AppendError::Store(error)) => Some(RecordingFailure {
                error: error.clone(),
                at,
            }),
            Err(_) => return,
        };
        self.state().failure = failure;
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

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

    /// FR18
    #[test]
    fn a_log_ahead_of_the_clock_is_known_until_the_clock_has_come_there() {
        let (recording, now) = (Recording::default(), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(recording.ahead(now), None);
        let (position, at) = (Position(1), now + Duration::hours(2));
        recording.note(&Ok(Appended { position, at }), now);
        let ahead = recording.ahead(now).expect("two hours");
        assert_eq!((ahead.last, ahead.by), (at, Duration::hours(2)));
        recording.note_last(now);
        assert!(
            recording.ahead(now + Duration::HOUR).is_some(),
            "times never decrease along the log"
        );
        assert_eq!(recording.ahead(at - super::TOLERANCE), None);
    }
}
