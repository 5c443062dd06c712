//! The event log in memory, with faults: for simulations and tests, never for data that matters.
//!
//! The rule: without a [`FaultPlan`] it promises what the port promises and passes the same contract suite; with
//! one, everything that goes wrong is drawn from one seed, so that the same calls in the same order meet the same
//! faults. No wall clock, no thread, no hash order. Nothing survives the process, and no setting leads here.

mod faults;
mod log;
mod subscription;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

use domain::{
    clock::{Clock, to_micros},
    event_store::{
        Append, AppendError, Appended, BoxFuture, EventStore, Filter, Page, Position, RecordedEvent,
        StoreError, StreamId, Subscription,
    },
};
use time::OffsetDateTime;

pub use self::faults::{Defect, FaultPlan, Generator};
use self::{
    faults::{CallOutcome, Faults},
    log::Log,
};
use crate::prepared::Prepared;

/// One log that several handles share, as several processes share a database.
struct Shared {
    log: Log,
    faults: Faults,
    /// Requests that are on their way longer than their callers wait.
    late: Vec<(u64, Append)>,
    /// Calls so far: what "later" is counted in.
    calls: u64,
    /// Followers that wait for the log to grow.
    waiting: Vec<Waker>,
}

impl Shared {
    /// Counts a call, and lets those late requests arrive whose time has come.
    fn begin(&mut self, now: OffsetDateTime) {
        self.calls += 1;
        let calls = self.calls;
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(when, _)| *when <= calls);
        self.late = later;
        let due: Vec<(u64, Append)> = due;
        for (_, append) in due {
            // Nobody waits for this answer any more.
            if self.record(&append, now).is_ok() {
                self.faults.note("a late request was recorded or known");
            }
        }
    }

    fn record(&mut self, append: &Append, now: OffsetDateTime) -> Result<Appended, AppendError> {
        let defect = self.faults.defect();
        let answer = self.log.append(append, to_micros(now), defect)?;
        self.waiting.drain(..).for_each(Waker::wake);
        Ok(answer)
    }

    fn later(&mut self, append: Append) {
        let when = self.calls + 1 + self.faults.lateness();
        self.late.push((when, append));
    }
}

/// The adapter: one process's handle on the log.
pub struct MemoryEventStore {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
    known: Arc<AtomicU64>,
}

impl std::fmt::Debug for MemoryEventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryEventStore")
            .field("known_head", &self.known.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl MemoryEventStore {
    /// An empty log that does nothing wrong. `clock` gives events their times.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_faults(clock, FaultPlan::NONE, 0)
    }

    /// An empty log that goes wrong as `plan` says, with dice that begin at `seed`.
    #[must_use]
    pub fn with_faults(clock: Arc<dyn Clock>, plan: FaultPlan, seed: u64) -> Arc<Self> {
        let shared = Shared {
            log: Log::default(),
            faults: Faults::new(plan, seed),
            late: Vec::new(),
            calls: 0,
            waiting: Vec::new(),
        };
        Arc::new(Self {
            shared: Arc::new(Mutex::new(shared)),
            clock,
            known: Arc::default(),
        })
    }

    /// A further handle on the same log, as another process would have it. It knows nothing yet.
    #[must_use]
    pub fn another(&self) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(&self.shared),
            clock: Arc::clone(&self.clock),
            known: Arc::default(),
        })
    }

    /// Nothing more goes wrong from now on. What was late arrives with the next call; a planted [`Defect`] stays.
    pub fn heal(&self) {
        let mut shared = self.lock();
        shared.faults.stop();
        shared.late.iter_mut().for_each(|(when, _)| *when = 0);
    }

    /// The whole log as it lies there, past all faults: what a test compares with.
    #[must_use]
    pub fn recorded(&self) -> Vec<RecordedEvent> {
        self.lock().log.events().to_vec()
    }

    /// What has gone wrong since this was last asked, in order.
    #[must_use]
    pub fn take_faults(&self) -> Vec<&'static str> {
        self.lock().faults.take_notes()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, head: Position) {
        self.known.fetch_max(head.0, Ordering::Relaxed);
    }

    async fn request(&self, append: Append) -> Result<Appended, AppendError> {
        // Checked by the caller's own process, so no fault lies before it.
        Prepared::new(append.clone())?;
        let fate = {
            let mut shared = self.lock();
            shared.begin(self.clock.now());
            shared.faults.of_append()
        };
        pass(fate.before).await;
        match fate.outcome {
            CallOutcome::Overloaded => return Err(AppendError::Overloaded),
            CallOutcome::Refused => return Err(unavailable("the request was lost")),
            CallOutcome::Late => {
                self.lock().later(append);
                return Err(unavailable("the answer did not come in time"));
            }
            CallOutcome::Granted | CallOutcome::LostAnswer | CallOutcome::Duplicated => {}
        }
        let answer = {
            let mut shared = self.lock();
            let answer = shared.record(&append, self.clock.now());
            if fate.outcome == CallOutcome::Duplicated {
                shared.later(append);
            }
            answer
        };
        pass(fate.after).await;
        if fate.outcome == CallOutcome::LostAnswer {
            return Err(unavailable("the answer was lost"));
        }
        if let Ok(appended) = &answer {
            self.learn(appended.position);
        }
        answer
    }

    /// A read: delayed, failed, or answered from the log.
    async fn read<T>(&self, look: impl FnOnce(&Log) -> T) -> Result<T, StoreError> {
        let fate = {
            let mut shared = self.lock();
            shared.begin(self.clock.now());
            shared.faults.of_read()
        };
        pass(fate.before).await;
        if fate.outcome == CallOutcome::Refused {
            return Err(StoreError::Unavailable("the read failed".to_owned()));
        }
        let found = look(&self.lock().log);
        pass(fate.after).await;
        Ok(found)
    }
}

fn unavailable(why: &str) -> AppendError {
    AppendError::Store(StoreError::Unavailable(why.to_owned()))
}

/// Lets others run `times` times.
async fn pass(times: u32) {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl EventStore for MemoryEventStore {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(self.request(append))
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn load<'a>(
        &'a self,
        stream: &'a StreamId,
        revision: u64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, StoreError>> {
        Box::pin(self.read(move |log| log.load(stream, revision)))
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.read(move |log| log.page(after, filter, limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            let head = self.read(Log::head).await?;
            self.learn(head);
            Ok(head)
        })
    }

    fn known_head(&self) -> Position {
        Position(self.known.load(Ordering::Relaxed))
    }

    fn subscribe(&self, after: Position, filter: Filter) -> Box<dyn Subscription> {
        Box::new(subscription::MemorySubscription::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.clock),
            Arc::clone(&self.known),
            after,
            filter,
        ))
    }
}

#[cfg(test)]
mod tests;
