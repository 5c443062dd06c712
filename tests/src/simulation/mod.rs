//! Deterministic simulation: real commands, folds and rules over a log in memory that goes wrong as a seed says.
//!
//! The rule: one seed is one run, byte for byte. What a run finds is told with its seed and the command that runs it
//! again. See `ops/adr/0016-deterministic-simulation.md`.

mod database;
mod invariants;
mod notes;
mod people;
mod process;
mod projector;
mod reaper;
mod scheduler;
mod worker;
mod world;

use std::{cell::RefCell, rc::Rc, time::Duration};

use event_store::memory::{Defect, Generator};

use self::{
    people::{Office, User},
    scheduler::Scheduler,
    world::{Weather, World},
};

const USERS: usize = 3;
const WORKERS: usize = 2;
const REAPERS: usize = 2;
const PROJECTORS: usize = 2;
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
pub enum Planted {
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
}

/// What came of one run.
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
pub fn run_with(seed: u64, planted: Option<Planted>) -> Run {
    let mut dice = Generator::new(seed);
    let mut weather = Weather::drawn(&mut dice);
    if let Some(Planted::Store(defect)) = planted {
        weather.store.defect = Some(defect);
    }
    let world = Rc::new(World::new(weather, dice));
    world.say("seed", &format!("{seed}: {:?}", world.weather));
    let mut scheduler = Scheduler::new(&world);
    populate(&world, &mut scheduler, planted);
    let ended = play(&world, &mut scheduler);
    let mut broken = invariants::broken(&world);
    if !ended {
        broken.insert(0, "not everything has come to an end".to_owned());
    }
    let log = world.store.recorded();
    let stale = world.notes().stale;
    Run {
        seed,
        broken,
        trace: world.trace.take(),
        steps: scheduler.steps(),
        events: log.len(),
        jobs: invariants::count(&log),
        stale,
    }
}

fn populate(world: &Rc<World>, scheduler: &mut Scheduler, planted: Option<Planted>) {
    let users: Vec<_> = (0..USERS)
        .map(|number| Rc::new(RefCell::new(User::new(world, number))))
        .collect();
    let office = Rc::new(RefCell::new(Office::default()));
    let (shared, known) = (Rc::clone(world), users.clone());
    scheduler.add("admin", true, false, move || {
        people::administer(Rc::clone(&shared), Rc::clone(&office), known.clone())
    });
    let stale = planted == Some(Planted::StaleRights);
    for (number, user) in users.into_iter().enumerate() {
        let shared = Rc::clone(world);
        scheduler.add(&format!("user-{number}"), true, false, move || {
            people::live(Rc::clone(&shared), Rc::clone(&user), stale)
        });
    }
    for number in 0..WORKERS {
        let (shared, name) = (Rc::clone(world), format!("worker-{number}"));
        scheduler.add(&name.clone(), false, true, move || {
            worker::work(Rc::clone(&shared), name.clone())
        });
    }
    let reapers = if planted == Some(Planted::NoReaper) {
        0
    } else {
        REAPERS
    };
    for number in 0..reapers {
        let (shared, name) = (Rc::clone(world), format!("reaper-{number}"));
        scheduler.add(&name.clone(), false, false, move || {
            reaper::reap(Rc::clone(&shared), name.clone())
        });
    }
    for number in 0..PROJECTORS {
        let (shared, name) = (Rc::clone(world), format!("projector-{number}"));
        scheduler.add(&name.clone(), false, false, move || {
            projector::project(Rc::clone(&shared), name.clone(), planted)
        });
    }
}

/// Plays until all is done; `false` when that takes longer than it may.
fn play(world: &World, scheduler: &mut Scheduler) -> bool {
    while scheduler.steps() < STEPS {
        let now = world.now();
        let healed = Duration::from_micros(world.weather.until);
        if !world.calm.get() && now >= healed {
            world.calm.set(true);
            world.store.heal();
            world.say("weather", "all is well from now on");
        }
        if world.calm.get() && scheduler.steps().is_multiple_of(LOOK) {
            if scheduler.is_done() && is_settled(world) {
                world.say("weather", "all is done");
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

fn is_settled(world: &World) -> bool {
    let log = world.store.recorded();
    let head = log.last().map(|event| event.position).unwrap_or_default();
    world.database.borrow().checkpoint() == head && invariants::unfinished(&log).is_empty()
}
