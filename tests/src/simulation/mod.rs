//! Deterministic simulation: real commands, folds and rules over a log in memory that goes wrong as a seed says.
//!
//! The rule: one seed is one run, byte for byte. What a run finds is told with its seed and the command that runs it
//! again. See `ops/adr/0016-deterministic-simulation.md`.

mod clock;
mod database;
mod environment;
mod invariants;
mod notes;
mod people;
mod process;
mod projector;
mod reactors;
mod reaper;
mod scheduler;
mod trace;
mod worker;
mod yield_point;

use std::{cell::RefCell, rc::Rc, time::Duration};

use event_store::memory::{Defect, Generator};

use self::{
    environment::{FaultRates, SimulatedEnvironment},
    people::{AdministratorProgress, User},
    scheduler::Scheduler,
};

const USERS: usize = 3;
const WORKERS: usize = 2;
const REAPERS: usize = 2;
const PROJECTORS: usize = 2;
const OWNERS: usize = 2;
/// I6: how long after the faults everything may take to end: what three users can queue, job after job, each with
/// all its attempts, and a lease and its look for each.
const LIVENESS: Duration = Duration::from_secs(300);
/// Steps of a run at most; far more than any needs.
const STEPS: u64 = 2_000_000;
/// Steps between two looks whether all is done.
const LOOK: u64 = 200;
/// Lines of the trace that are shown of a run that went wrong.
const TAIL: usize = 60;

/// Something wrong on purpose, to see that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedDefect {
    /// The store breaks a promise.
    Store(Defect),
    /// Projectors save their checkpoint before their rows.
    CheckpointBeforeRows,
    /// Projectors fold what a subscription delivers, as it comes.
    TrustsDeliveries,
    /// People are served on the rights that their process once knew.
    StaleRights,
    /// Nobody takes jobs from lost workers.
    NoReaper,
    /// Reactors save their checkpoint before their effects are done.
    CheckpointBeforeEffects,
}

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// What is broken; empty when all is well.
    pub broken: Vec<String>,
    /// Everything that happened, a line each. The same for the same seed.
    pub trace: String,
    /// Steps taken.
    pub steps: u64,
    /// Events recorded.
    pub events: usize,
    /// Jobs queued, and how many of them completed.
    pub jobs: (usize, usize),
    /// Reports of workers that were refused because their attempt was no longer under way.
    pub stale: u64,
}

impl Run {
    /// What a person needs who has to find out why: what broke, the end of the trace, how to see it again.
    #[must_use]
    pub fn explanation(&self) -> String {
        let lines: Vec<&str> = self.trace.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        format!(
            "seed {seed} breaks:\n  {broken}\nthe last {shown} of {all} lines of its trace:\n{tail}\n\
             run it again, with its whole trace: cargo xtask simulate --seed {seed}",
            seed = self.seed,
            broken = self.broken.join("\n  "),
            shown = TAIL.min(lines.len()),
            all = lines.len(),
        )
    }
}

/// Runs the simulation that `seed` stands for.
#[must_use]
pub fn run(seed: u64) -> Run {
    run_with(seed, None)
}

/// The same with something wrong on purpose.
#[must_use]
pub fn run_with(seed: u64, planted: Option<PlantedDefect>) -> Run {
    let mut dice = Generator::new(seed);
    let mut fault_rates = FaultRates::drawn(&mut dice);
    if let Some(PlantedDefect::Store(defect)) = planted {
        fault_rates.store.defect = Some(defect);
    }
    let environment = Rc::new(SimulatedEnvironment::new(fault_rates, dice));
    environment.say("seed", &format!("{seed}: {:?}", environment.fault_rates));
    let mut scheduler = Scheduler::new(&environment);
    populate(&environment, &mut scheduler, planted);
    let ended = play(&environment, &mut scheduler);
    let mut broken = invariants::broken(&environment);
    if !ended {
        broken.insert(0, "not everything has come to an end".to_owned());
    }
    let log = environment.store.recorded();
    let stale = environment.notes().stale;
    Run {
        seed,
        broken,
        trace: environment.trace.take(),
        steps: scheduler.steps(),
        events: log.len(),
        jobs: invariants::count(&log),
        stale,
    }
}

fn populate(
    environment: &Rc<SimulatedEnvironment>,
    scheduler: &mut Scheduler,
    planted: Option<PlantedDefect>,
) {
    let users: Vec<_> = (0..USERS)
        .map(|number| Rc::new(RefCell::new(User::new(environment, number))))
        .collect();
    let progress = Rc::new(RefCell::new(AdministratorProgress::default()));
    let (shared, known) = (Rc::clone(environment), users.clone());
    scheduler.add("admin", true, false, move || {
        people::administer(Rc::clone(&shared), Rc::clone(&progress), known.clone())
    });
    let stale = planted == Some(PlantedDefect::StaleRights);
    for (number, user) in users.into_iter().enumerate() {
        let shared = Rc::clone(environment);
        scheduler.add(&format!("user-{number}"), true, false, move || {
            people::live(Rc::clone(&shared), Rc::clone(&user), stale)
        });
    }
    for number in 0..WORKERS {
        let (shared, name) = (Rc::clone(environment), format!("worker-{number}"));
        scheduler.add(&name.clone(), false, true, move || {
            worker::work(Rc::clone(&shared), name.clone())
        });
    }
    let reapers = if planted == Some(PlantedDefect::NoReaper) {
        0
    } else {
        REAPERS
    };
    for number in 0..reapers {
        let (shared, name) = (Rc::clone(environment), format!("reaper-{number}"));
        scheduler.add(&name.clone(), false, false, move || {
            reaper::reap(Rc::clone(&shared), name.clone())
        });
    }
    for number in 0..PROJECTORS {
        let (shared, name) = (Rc::clone(environment), format!("projector-{number}"));
        scheduler.add(&name.clone(), false, false, move || {
            projector::project(Rc::clone(&shared), name.clone(), planted)
        });
    }
    for number in 0..OWNERS {
        let (shared, name) = (Rc::clone(environment), format!("owner-{number}"));
        scheduler.add(&name.clone(), false, true, move || {
            reactors::react(Rc::clone(&shared), name.clone(), planted)
        });
    }
}

/// Plays until all is done; `false` when that takes longer than it may.
fn play(environment: &SimulatedEnvironment, scheduler: &mut Scheduler) -> bool {
    while scheduler.steps() < STEPS {
        let now = environment.now();
        let healed = Duration::from_micros(environment.fault_rates.until);
        if !environment.calm.get() && now >= healed {
            environment.calm.set(true);
            environment.store.heal();
            environment.say("weather", "all is well from now on");
        }
        if environment.calm.get() && scheduler.steps().is_multiple_of(LOOK) {
            if scheduler.is_done() && is_settled(environment) {
                environment.say("weather", "all is done");
                return true;
            }
            if now > healed + LIVENESS {
                return false;
            }
        }
        if !scheduler.step() {
            return false;
        }
    }
    false
}

fn is_settled(environment: &SimulatedEnvironment) -> bool {
    let log = environment.store.recorded();
    let head = log.last().map(|event| event.position).unwrap_or_default();
    environment.database.borrow().checkpoint() == head
        && invariants::unfinished(&log).is_empty()
        && reactors::open(environment, &log).is_empty()
}
