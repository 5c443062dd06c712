//! Lease expiry: when a worker counts as lost, and when a lease may be replaced. Pure, without clock and table.
//!
//! One rule: nothing is decided here about who may write. That is the attempt's number in the log; a wrong
//! verdict costs time, never a fact.

use std::time::Duration;

use domain::id::WorkerId;

use super::queue::LeaseStatus;

/// The reaper's verdict on a running attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its worker is alive, or a newer attempt is known.
    Leave,
    /// It has no lease: its worker is about to write one, or died before it could. To be remembered.
    Watch,
    /// Its worker's lease has expired, for this reason.
    Lost(String),
}

/// Judges `attempt`, whose job has this `lease` or none. `silence`: how long it has been seen without a lease,
/// zero the first time; `time`: how long a worker may be silent.
#[must_use]
pub fn verdict(attempt: u32, lease: Option<&LeaseStatus>, silence: Duration, time: Duration) -> Verdict {
    match lease {
        Some(status) if status.attempt > attempt => Verdict::Leave,
        Some(status) if status.attempt == attempt && status.alive => Verdict::Leave,
        Some(status) if status.attempt == attempt => Verdict::Lost(format!(
            "the worker {} was lost: its heartbeat stopped",
            status.worker_name
        )),
        Some(_) | None if silence < time => Verdict::Watch,
        Some(_) | None => Verdict::Lost("the worker was lost before it began".to_owned()),
    }
}

/// Whether the lease that is `held` may be replaced by the one that is `claimed`: to a newer attempt, and to its own
/// renewal. The statement of [`super::queue::claim`] says the same to the database.
#[must_use]
pub fn may_be_replaced_by(held: (u32, WorkerId), claimed: (u32, WorkerId)) -> bool {
    held.0 < claimed.0 || held == claimed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Verdict, verdict};
    use crate::lease::queue::LeaseStatus;

    fn lease(attempt: u32, alive: bool) -> LeaseStatus {
        LeaseStatus {
            attempt,
            worker_name: "host/cpu".to_owned(),
            alive,
        }
    }

    /// JB-4
    #[test]
    fn only_the_silent_worker_of_this_very_attempt_is_lost() {
        let (none, time) = (Duration::ZERO, Duration::from_secs(30));
        assert_eq!(verdict(2, Some(&lease(2, true)), time, time), Verdict::Leave);
        assert_eq!(verdict(2, Some(&lease(3, false)), time, time), Verdict::Leave);
        assert!(matches!(
            verdict(2, Some(&lease(2, false)), none, time),
            Verdict::Lost(_)
        ));
        assert_eq!(verdict(2, Some(&lease(1, false)), none, time), Verdict::Watch);
        assert_eq!(verdict(2, None, time / 2, time), Verdict::Watch);
        assert!(matches!(verdict(2, None, time, time), Verdict::Lost(_)));
    }
}
