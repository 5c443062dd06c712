//! Time as an argument: decisions never read a clock of their own.

use time::OffsetDateTime;

/// Where "now" comes from. Tests hand in a clock that they turn by hand.
pub trait Clock: Send + Sync {
    /// The present moment, UTC, cut to whole microseconds (what PostgreSQL keeps).
    fn now(&self) -> OffsetDateTime;
}

/// Cuts a moment to whole microseconds, so that what is stored equals what was decided on.
#[must_use]
pub fn to_micros(at: OffsetDateTime) -> OffsetDateTime {
    let nanos = at.nanosecond();
    at.replace_nanosecond(nanos - nanos % 1_000).unwrap_or(at)
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> OffsetDateTime {
        to_micros(OffsetDateTime::now_utc())
    }
}
