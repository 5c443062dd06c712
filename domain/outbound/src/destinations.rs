//! What is remembered of each destination: its breaker, and how many calls are under way.
//!
//! One rule: both are bounded. The table has so many destinations, and forgets first what there is least to know of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    breaker::{Admission, Breaker, BreakerOptions, Verdict},
    destination::Destination,
    error::{CallError, Stage},
};

/// How much may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Calls at the same time, answers that are being read included.
    pub total: usize,
    /// Of these, to one destination.
    pub per_destination: usize,
    /// How long a call waits for its turn.
    pub queue: Duration,
    /// Destinations that are remembered.
    pub destinations: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            total: 256,
            per_destination: 32,
            queue: Duration::from_secs(10),
            destinations: 1_024,
        }
    }
}

/// One destination.
pub(crate) struct Known {
    breaker: Mutex<Breaker>,
    permits: Arc<Semaphore>,
}

/// The right to one call; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    _destination: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

struct Entry {
    known: Arc<Known>,
    used: Instant,
}

/// All destinations.
pub(crate) struct Destinations {
    bounds: Concurrency,
    breaker: BreakerOptions,
    total: Arc<Semaphore>,
    table: Mutex<HashMap<Destination, Entry>>,
}

impl Destinations {
    pub(crate) fn new(bounds: Concurrency, breaker: BreakerOptions) -> Self {
        Self {
            bounds,
            breaker,
            total: Arc::new(Semaphore::new(bounds.total)),
            table: Mutex::default(),
        }
    }

    /// What is remembered of a destination; a new one takes the place of the least useful that nobody calls.
    pub(crate) fn of(&self, destination: &Destination) -> Result<Arc<Known>, CallError> {
        let now = Instant::now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.get_mut(destination) {
            entry.used = now;
            return Ok(Arc::clone(&entry.known));
        }
        if table.len() >= self.bounds.destinations {
            let unused = table
                .iter()
                .filter(|(_, entry)| Arc::strong_count(&entry.known) == 1);
            let least = unused.min_by_key(|(_, entry)| (!entry.known.is_untroubled(), entry.used));
            let least = least
                .map(|(destination, _)| destination.clone())
                .ok_or(CallError::Busy)?;
            table.remove(&least);
        }
        let known = Arc::new(Known {
            breaker: Mutex::new(Breaker::new(self.breaker)),
            permits: Arc::new(Semaphore::new(self.bounds.per_destination)),
        });
        let entry = Entry {
            known: Arc::clone(&known),
            used: now,
        };
        table.insert(destination.clone(), entry);
        Ok(known)
    }

    /// The turn of a call. The destination's own comes first: who waits for a slow one takes no place of others.
    pub(crate) async fn permits(&self, known: &Known) -> Result<Permits, CallError> {
        let both = async {
            let destination = Arc::clone(&known.permits).acquire_owned().await;
            let total = Arc::clone(&self.total).acquire_owned().await;
            Some(Permits {
                _destination: destination.ok()?,
                _total: total.ok()?,
            })
        };
        let turn = timeout(self.bounds.queue, both).await;
        turn.map_err(|_| CallError::TimedOut(Stage::Queue))?
            .ok_or(CallError::Busy)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().expect("nobody panicked").len()
    }
}

impl Known {
    /// Whether a call may go now, and the ticket that tells what came of it.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Ticket, CallError> {
        let admitted = self.breaker().admit(Instant::now());
        let admission = admitted.map_err(|retry_in| CallError::BreakerOpen { retry_in })?;
        Ok(Ticket {
            known: Arc::clone(self),
            admission,
            verdict: Verdict::Unknown,
        })
    }

    fn settle(&self, admission: Admission, verdict: Verdict) {
        let mut breaker = self.breaker();
        let before = breaker.is_closed();
        breaker.settle(admission, verdict, Instant::now());
        if before && !breaker.is_closed() {
            metrics::counter!("outbound_breakers_opened_total").increment(1);
        }
    }

    fn is_untroubled(&self) -> bool {
        self.breaker().is_untroubled()
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the breaker let through; tells it what came of it when it is dropped. Until something is said that is
/// nothing: the caller went away, and the next one may probe.
pub(crate) struct Ticket {
    known: Arc<Known>,
    admission: Admission,
    verdict: Verdict,
}

impl Ticket {
    pub(crate) fn settle(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// The head of an answer has come: the destination works, unless the body breaks off. A probe is over with the head;
    /// others do not wait for a body that may last for hours.
    pub(crate) fn answered(mut self) -> Self {
        self.verdict = Verdict::Works;
        if self.admission == Admission::Probe {
            self.known.settle(Admission::Probe, Verdict::Works);
            self.admission = Admission::Usual;
        }
        self
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.known.settle(self.admission, self.verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::{Concurrency, Destinations};
    use crate::{
        breaker::{BreakerOptions, Verdict},
        destination::{Destination, Service},
        error::CallError,
    };

    fn host(number: usize) -> Destination {
        Destination::new(Service::Https, &format!("h{number}.example"), 443).expect("a host")
    }

    fn table(destinations: usize) -> Destinations {
        let bounds = Concurrency {
            destinations,
            ..Concurrency::default()
        };
        let breaker = BreakerOptions {
            failures: 1,
            ..BreakerOptions::default()
        };
        Destinations::new(bounds, breaker)
    }

    #[tokio::test]
    async fn the_table_is_bounded_and_keeps_open_breakers_longest() {
        let table = table(3);
        let failing = table.of(&host(0)).expect("room");
        failing.admit().expect("closed").settle(Verdict::Fails);
        drop(failing);
        for number in 1..100 {
            table.of(&host(number)).expect("room");
            assert!(table.len() <= 3);
        }
        let refused = table.of(&host(0)).expect("room").admit().err();
        assert!(
            matches!(refused, Some(CallError::BreakerOpen { .. })),
            "its breaker was forgotten: {refused:?}"
        );
    }

    #[tokio::test]
    async fn what_is_called_now_is_not_forgotten() {
        let table = table(2);
        let held = [
            table.of(&host(0)).expect("room"),
            table.of(&host(1)).expect("room"),
        ];
        assert_eq!(table.of(&host(2)).err(), Some(CallError::Busy));
        drop(held);
        table.of(&host(2)).expect("room again");
    }
}
