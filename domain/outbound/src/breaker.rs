//! The circuit breaker of one destination.
//!
//! One rule: after so many failures in a row nobody calls for a while; then one call probes, and what comes of it counts
//! for all. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// When a destination is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open it. At least 1.
    pub failures: u32,
    /// For how long it opens first; twice as long after each probe that fails.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 5,
            first: Duration::from_secs(5),
            longest: Duration::from_secs(120),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { probing: bool, pause: Duration },
}

/// Whether a call that was let through is the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Usual,
    Probe,
}

/// What came of a call, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The destination answers.
    Works,
    /// It does not.
    Fails,
    /// The call says nothing about it: refused, given up by its caller.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    options: BreakerOptions,
    state: State,
}

impl Breaker {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: State::Closed { failures: 0 },
        }
    }

    /// Lets a call through, or says for how long there will be none.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Admission, Duration> {
        match self.state {
            State::Closed { .. } => Ok(Admission::Usual),
            State::Open { until, .. } if now < until => Err(until - now),
            State::HalfOpen { probing: true, pause } => Err(pause),
            State::Open { pause, .. } | State::HalfOpen { pause, .. } => {
                self.state = State::HalfOpen { probing: true, pause };
                Ok(Admission::Probe)
            }
        }
    }

    /// What came of a call that was admitted. Once it is open, only the probe counts: what else ends then began before.
    pub(crate) fn settle(&mut self, admission: Admission, verdict: Verdict, now: Instant) {
        self.state = match (self.state, admission, verdict) {
            (State::HalfOpen { .. }, Admission::Probe, Verdict::Works) => State::Closed { failures: 0 },
            (State::HalfOpen { pause, .. }, Admission::Probe, Verdict::Fails) => {
                self.open(now, (pause * 2).min(self.options.longest))
            }
            (State::HalfOpen { pause, .. }, Admission::Probe, Verdict::Unknown) => State::HalfOpen {
                probing: false,
                pause,
            },
            (State::Closed { .. }, _, Verdict::Works) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, Verdict::Fails) => match failures + 1 >= self.options.failures {
                true => self.open(now, self.options.first),
                false => State::Closed {
                    failures: failures + 1,
                },
            },
            (state, ..) => state,
        };
    }

    fn open(&self, now: Instant, pause: Duration) -> State {
        State::Open {
            until: now + pause,
            pause,
        }
    }

    /// Whether it knows nothing that would be lost with it.
    pub(crate) fn is_untroubled(&self) -> bool {
        self.state == State::Closed { failures: 0 }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Admission, Breaker, BreakerOptions, Verdict};

    const SECOND: Duration = Duration::from_secs(1);

    /// A breaker that was opened by two failures at `now`.
    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(BreakerOptions {
            failures: 2,
            first: SECOND,
            longest: SECOND * 4,
        });
        for _ in 0..2 {
            let admission = breaker.admit(now).expect("closed");
            breaker.settle(admission, Verdict::Fails, now);
        }
        breaker
    }

    #[test]
    fn it_stays_open_for_its_time_and_then_lets_one_probe_through() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now), Err(SECOND));
        assert_eq!(breaker.admit(now + SECOND / 2), Err(SECOND / 2));
        assert_eq!(breaker.admit(now + SECOND), Ok(Admission::Probe));
        assert_eq!(
            breaker.admit(now + SECOND * 9),
            Err(SECOND),
            "one probe at a time"
        );
        breaker.settle(Admission::Probe, Verdict::Works, now + SECOND);
        assert_eq!(breaker.admit(now + SECOND), Ok(Admission::Usual));
        assert!(breaker.is_untroubled());
    }

    #[test]
    fn it_stays_open_twice_as_long_after_each_probe_that_fails_up_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [1, 2, 4, 4, 4] {
            let pause = SECOND * pause;
            assert_eq!(breaker.admit(now), Err(pause));
            now += pause;
            assert_eq!(breaker.admit(now), Ok(Admission::Probe));
            breaker.settle(Admission::Probe, Verdict::Fails, now);
        }
    }

    #[test]
    fn a_probe_that_is_given_up_lets_the_next_one_through() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + SECOND), Ok(Admission::Probe));
        breaker.settle(Admission::Probe, Verdict::Unknown, now + SECOND);
        assert_eq!(breaker.admit(now + SECOND), Ok(Admission::Probe));
    }

    #[test]
    fn calls_that_began_before_it_opened_change_nothing() {
        let now = Instant::now();
        let mut breaker = opened(now);
        for verdict in [Verdict::Works, Verdict::Fails, Verdict::Unknown] {
            breaker.settle(Admission::Usual, verdict, now + SECOND / 2);
            assert_eq!(breaker.admit(now + SECOND / 2), Err(SECOND / 2), "{verdict:?}");
        }
    }
}
