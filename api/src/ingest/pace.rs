//! How fast a sender sends.
//!
//! One rule: only the time counts in which it was waited for the sender, never that of our own disks.

use std::time::Duration;

use super::{IngestError, IngestLimits};

/// What came in since the count began.
#[derive(Debug)]
pub(super) struct Pace {
    within: Duration,
    least: u64,
    waited: Duration,
    /// Bytes that had come in when the count began.
    before: u64,
}

impl Pace {
    pub(super) const fn new(limits: &IngestLimits) -> Self {
        Self {
            within: limits.idle,
            least: limits.least,
            waited: Duration::ZERO,
            before: 0,
        }
    }

    /// It was waited for so long, and so many bytes have come in in all.
    ///
    /// # Errors
    /// When too few came in the time that they had.
    pub(super) fn waited(&mut self, waited: Duration, bytes: u64) -> Result<(), IngestError> {
        self.waited += waited;
        if bytes - self.before >= self.least {
            (self.before, self.waited) = (bytes, Duration::ZERO);
        }
        if self.waited < self.within {
            return Ok(());
        }
        let (least, seconds) = (self.least, self.within.as_secs());
        Err(IngestError::TooSlow { least, seconds })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;
    use crate::ingest::IngestLimits;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(&IngestLimits::default())
    }

    #[test]
    fn a_byte_a_second_is_too_slow() {
        let mut pace = pace();
        let over = (1..).find(|bytes| pace.waited(SECOND, *bytes).is_err());
        assert_eq!(over, Some(60));
    }

    #[test]
    fn the_least_pace_may_last() {
        let mut pace = pace();
        let step = (64 << 10) / 59 + 1;
        assert!((1..100_000).all(|second| pace.waited(SECOND, second * step).is_ok()));
    }

    /// The end of a file that came fast is not too slow, however small it is.
    #[test]
    fn what_is_no_wait_does_not_count() {
        let mut pace = pace();
        assert!((0..100_000).all(|_| pace.waited(Duration::ZERO, 1).is_ok()));
    }
}
