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
