//! Runs tasks one step at a time, in an order that the dice choose.
//!
//! The rule: one thread, logical time. A task is a future that can be made anew; a crash drops it between two steps,
//! a stall leaves it out for longer than a lease.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use super::environment::SimulatedEnvironment;

/// Longest step, in microseconds.
const STEP: u64 = 400;
/// Longest time until a crashed process is back, in microseconds.
const DOWN: u64 = 3_000_000;
/// Longest stall, in microseconds: some three leases.
const STALL: u64 = 10_000_000;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    name: String,
    make: Box<dyn Fn() -> Work>,
    work: Option<Work>,
    /// Ready at its own end.
    ended: bool,
    /// Whether the run waits for its end.
    awaited: bool,
    crashes: u32,
    stalls: u32,
    /// Left out until then: crashed or stalled.
    out_until: u64,
}

/// Tasks that want to run.
type Ready = Arc<Mutex<BTreeSet<usize>>>;

struct Call {
    task: usize,
    ready: Ready,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.insert(self.task);
    }
}

/// See the module.
pub(super) struct Scheduler {
    environment: Rc<SimulatedEnvironment>,
    tasks: Vec<Task>,
    ready: Ready,
    steps: u64,
}

impl Scheduler {
    pub(super) fn new(environment: &Rc<SimulatedEnvironment>) -> Self {
        Self {
            environment: Rc::clone(environment),
            tasks: Vec::new(),
            ready: Arc::default(),
            steps: 0,
        }
    }

    /// Adds a task. `awaited`: it ends by itself, and the run waits for that; `stalls`: it may be stopped for long.
    pub(super) fn add<F: Future<Output = ()> + 'static>(
        &mut self,
        name: &str,
        awaited: bool,
        stalls: bool,
        make: impl Fn() -> F + 'static,
    ) {
        self.lock().insert(self.tasks.len());
        self.tasks.push(Task {
            name: name.to_owned(),
            make: Box::new(move || Box::pin(make())),
            work: None,
            ended: false,
            awaited,
            crashes: self.environment.fault_rates.crashes,
            stalls: if stalls {
                self.environment.fault_rates.stalls
            } else {
                0
            },
            out_until: 0,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether everything that ends by itself has ended.
    pub(super) fn is_done(&self) -> bool {
        self.tasks.iter().all(|task| task.ended || !task.awaited)
    }

    /// Takes one step: of a task, or of time. `false`: nothing will ever happen any more.
    pub(super) fn step(&mut self) -> bool {
        self.steps += 1;
        let now = self.environment.clock.micros() + 1 + self.environment.below(STEP);
        self.environment.clock.set(now);
        self.environment.ring();
        let able: Vec<usize> = {
            let ready = self.lock();
            let able = |index: &&usize| self.tasks[**index].out_until <= now;
            ready.iter().filter(able).copied().collect()
        };
        if able.is_empty() {
            return self.leap();
        }
        let chosen = able[usize::try_from(self.environment.below(able.len() as u64)).unwrap_or(0)];
        if !self.strike(chosen, now) {
            self.poll(chosen);
        }
        for fault in self.environment.store.take_faults() {
            self.environment.say("fault", fault);
        }
        true
    }

    /// Moves time to the next moment at which somebody can run.
    fn leap(&self) -> bool {
        let ready = self.lock();
        let back = ready.iter().map(|index| self.tasks[*index].out_until).min();
        let next = [back, self.environment.next_ring()].into_iter().flatten().min();
        if let Some(next) = next {
            self.environment
                .clock
                .set(self.environment.clock.micros().max(next));
        }
        next.is_some()
    }

    /// Crashes or stalls a task, if the dice say so.
    fn strike(&mut self, index: usize, now: u64) -> bool {
        let (crashes, stalls) = (self.tasks[index].crashes, self.tasks[index].stalls);
        let (crash, stall) = (
            self.environment.trouble(crashes),
            self.environment.trouble(stalls),
        );
        let task = &mut self.tasks[index];
        if crash && task.work.is_some() {
            task.work = None;
            task.out_until = now + self.environment.below(DOWN);
            self.environment.say(&task.name, "crashes");
        } else if stall {
            task.out_until = now + self.environment.below(STALL);
            self.environment.say(&task.name, "stalls");
        } else {
            return false;
        }
        true
    }

    fn poll(&mut self, index: usize) {
        self.lock().remove(&index);
        let call = Waker::from(Arc::new(Call {
            task: index,
            ready: Arc::clone(&self.ready),
        }));
        let task = &mut self.tasks[index];
        if task.ended {
            // A timer of an earlier life.
            return;
        }
        let work = task.work.get_or_insert_with(&task.make);
        if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(&call)) {
            task.ended = true;
            task.work = None;
        }
    }
}
