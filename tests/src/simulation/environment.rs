//! The world of one run: time, dice, ids, the trace, and what lies on disks.
//!
//! The rule: whatever a run depends on comes from here, and here from one seed. No wall clock, no thread, no hash
//! order, so that the same seed writes the same trace byte for byte.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    task::{Poll, Waker},
    time::Duration,
};

use domain::clock::Clock;
use event_store::memory::{FaultPlan, Generator, MemoryEventStore};

use super::{
    clock::{CountedIds, LogicalClock},
    database::Database,
    notes::Notes,
    trace::Trace,
    yield_point::step,
};

/// How hard the run is.
#[derive(Clone, Debug)]
pub(super) struct FaultRates {
    /// What the event store does wrong.
    pub(super) store: FaultPlan,
    /// Crashes, in 1,000 steps of a process.
    pub(super) crashes: u32,
    /// Stalls, in 1,000 steps of a worker.
    pub(super) stalls: u32,
    /// Failing statements, in 1,000.
    pub(super) database: u32,
    /// Until when, in logical microseconds. Afterwards all is well.
    pub(super) until: u64,
}

impl FaultRates {
    /// Drawn: each kind of trouble is off, rare or frequent.
    pub(super) fn drawn(dice: &mut Generator) -> Self {
        let store = FaultPlan::drawn(dice);
        let mut rate = |frequent: u32| match dice.below(3) {
            0 => 0,
            1 => frequent / 4,
            _ => frequent,
        };
        Self {
            store,
            crashes: rate(8),
            stalls: rate(12),
            database: rate(80),
            until: 20_000_000,
        }
    }
}

/// See the module.
pub(super) struct SimulatedEnvironment {
    pub(super) clock: Arc<LogicalClock>,
    pub(super) ids: Arc<CountedIds>,
    pub(super) trace: Arc<Trace>,
    /// The log itself; each process has a handle of its own on it.
    pub(super) store: Arc<MemoryEventStore>,
    /// What was asked of the log and what it answered, seen from outside.
    pub(super) notes: Arc<Mutex<Notes>>,
    /// PostgreSQL: read models, checkpoints, leases. Survives every crash.
    pub(super) database: RefCell<Database>,
    pub(super) fault_rates: FaultRates,
    /// Whether faults have stopped.
    pub(super) calm: Cell<bool>,
    dice: RefCell<Generator>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timers_made: Cell<u64>,
}

impl SimulatedEnvironment {
    pub(super) fn new(fault_rates: FaultRates, mut dice: Generator) -> Self {
        let clock = Arc::new(LogicalClock::default());
        let store = MemoryEventStore::with_faults(
            Arc::clone(&clock) as Arc<dyn Clock>,
            fault_rates.store.clone(),
            dice.bits(),
        );
        let ids = CountedIds {
            clock: Arc::clone(&clock),
            next: AtomicU64::new(1),
        };
        Self {
            clock,
            ids: Arc::new(ids),
            trace: Arc::default(),
            store,
            notes: Arc::default(),
            database: RefCell::default(),
            fault_rates,
            calm: Cell::new(false),
            dice: RefCell::new(dice),
            timers: RefCell::default(),
            timers_made: Cell::new(0),
        }
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_micros(self.clock.micros())
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.dice.borrow_mut().below(bound)
    }

    /// Whether a die falls, in `per_mille` of 1,000 cases.
    pub(super) fn chance(&self, per_mille: u32) -> bool {
        self.dice.borrow_mut().chance(per_mille)
    }

    /// The same, for trouble that ends with the faults. The die is thrown all the same.
    pub(super) fn trouble(&self, per_mille: u32) -> bool {
        self.chance(per_mille) && !self.calm.get()
    }

    pub(super) fn say(&self, who: &str, what: &str) {
        self.trace.line(self.clock.micros(), who, what);
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `time` of the logical clock.
    pub(super) async fn sleep(&self, time: Duration) {
        let due = self.clock.micros() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2);
        poll_fn(|context| {
            if self.clock.micros() >= due {
                return Poll::Ready(());
            }
            let number = self.timers_made.get();
            self.timers_made.set(number + 1);
            self.timers
                .borrow_mut()
                .insert((due, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Sleeps up to `most`, as the dice say.
    pub(super) async fn linger(&self, most: Duration) {
        let micros = self.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX));
        self.sleep(Duration::from_micros(micros)).await;
    }

    /// A statement sent to PostgreSQL: takes a while, may fail before or after it took effect.
    ///
    /// # Errors
    /// What the caller hears; whether it took effect is not said.
    pub(super) async fn statement<T>(&self, run: impl FnOnce(&mut Database) -> T) -> Result<T, Lost> {
        step().await;
        if self.trouble(self.fault_rates.database / 2) {
            return Err(Lost);
        }
        let answer = run(&mut self.database.borrow_mut());
        step().await;
        if self.trouble(self.fault_rates.database / 2) {
            return Err(Lost);
        }
        Ok(answer)
    }

    /// Sleeps until the next full `period`: whoever waits for the same one wakes at the same time, as all do
    /// who wait for the same news.
    pub(super) async fn tick(&self, period: Duration) {
        let period = u64::try_from(period.as_micros()).unwrap_or(1).max(1);
        let rest = period - self.clock.micros() % period;
        self.sleep(Duration::from_micros(rest)).await;
    }

    /// Wakes those whose time has come.
    pub(super) fn ring(&self) {
        let later = (self.clock.micros() + 1, 0);
        let mut timers = self.timers.borrow_mut();
        let rest = timers.split_off(&later);
        let due = std::mem::replace(&mut *timers, rest);
        drop(timers);
        due.into_values().for_each(Waker::wake);
    }

    /// When the next sleeper wakes.
    pub(super) fn next_ring(&self) -> Option<u64> {
        self.timers.borrow().keys().next().map(|(due, _)| *due)
    }
}

/// A statement without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost;
