//! Random kills at random moments: of the server, of its training processes, of PostgreSQL.
//!
//! The rule: what is done comes from the seed alone. When it hits depends on the machine, so a seed repeats
//! the kind and order of faults, not the byte at which they strike.

use std::time::{Duration, Instant};

use anneal::fail_points::{POINTS, Passed};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    scenario::{Scenario, Size},
    server::{Server, assert_has_fail_points, children, last_words, postmaster},
};

/// Runs on one data folder.
const PER_SCENE: u32 = 100;
/// Runs between two verifications.
const PER_CHECK: u32 = 20;
/// How long a run may last when nothing dies of its fault.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than a lease, see [`Server::start`].
const STALL: Duration = Duration::from_secs(4);

/// What is done to one run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// The process dies at a point, at this passage.
    Point(&'static str, u64),
    /// The server is killed.
    Server,
    /// A training process is killed.
    Trainer,
    /// PostgreSQL's main process is killed.
    Postmaster,
    /// One of PostgreSQL's other processes is killed.
    Backend,
    /// The server stands still for longer than its leases.
    Stall,
    /// The server is told to stop.
    Stop,
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn fault(&mut self) -> Fault {
        let points: Vec<&'static str> = POINTS
            .iter()
            .filter(|point| point.passed != Passed::FirstStart)
            .map(|point| point.name)
            .collect();
        match self.below(12) {
            0..=4 => {
                let index = usize::try_from(self.below(points.len() as u64)).unwrap_or_default();
                Fault::Point(points[index], 1 + self.below(6))
            }
            5 | 6 => Fault::Server,
            7 => Fault::Trainer,
            8 => Fault::Postmaster,
            9 => Fault::Backend,
            10 => Fault::Stall,
            _ => Fault::Stop,
        }
    }
}

fn send(pid: Option<i32>, signal: Signal) {
    // Who is gone already needs no killing.
    if let Some(pid) = pid {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

async fn strike(scenario: &Scenario, server: &Server, fault: &Fault, random: &mut Random) {
    let any = |found: Vec<i32>, random: &mut Random| match found.len() {
        0 => None,
        count => found
            .get(usize::try_from(random.below(count as u64)).unwrap_or_default())
            .copied(),
    };
    match fault {
        Fault::Point(..) => {}
        Fault::Server => server.signal(Signal::SIGKILL),
        Fault::Trainer => send(any(children(server.id(), "anneal"), random), Signal::SIGKILL),
        Fault::Postmaster => send(postmaster(&scenario.data), Signal::SIGKILL),
        Fault::Backend => {
            let backends = postmaster(&scenario.data).map(|main| children(main, "postgres"));
            send(any(backends.unwrap_or_default(), random), Signal::SIGKILL);
        }
        Fault::Stall => {
            server.signal(Signal::SIGSTOP);
            tokio::time::sleep(STALL).await;
            server.signal(Signal::SIGCONT);
        }
        Fault::Stop => server.signal(Signal::SIGINT),
    }
}

/// One start, one fault, and work until it struck or patience ends; then the server dies, if it still lives.
async fn run(scenario: &mut Scenario, random: &mut Random) {
    let fault = random.fault();
    let delay = Duration::from_millis(random.below(2_500));
    let size =
        [None, Some(Size::Short), Some(Size::Short)][usize::try_from(random.below(3)).unwrap_or_default()];
    eprintln!("  {fault:?} after {} ms, job: {size:?}", delay.as_millis());
    let armed = match &fault {
        Fault::Point(name, nth) => format!("{name}=kill:{nth}"),
        _ => String::new(),
    };
    std::fs::remove_file(&scenario.reached).ok();
    let mut server = match scenario.start(&armed) {
        Ok(server) => server,
        Err(_) if !armed.is_empty() => return,
        Err(status) => panic!(
            "nothing was to kill it, and it ended with {status}: {}",
            last_words(&scenario.data)
        ),
    };
    let url = server.url.clone();
    let begun = Instant::now();
    let work = async { while begun.elapsed() < TIMEOUT && scenario.round(&url, size).await.is_ok() {} };
    tokio::select! {
        () = work => {}
        () = tokio::time::sleep(delay) => {}
    }
    strike(scenario, &server, &fault, random).await;
    let after = async { while begun.elapsed() < TIMEOUT && scenario.round(&url, None).await.is_ok() {} };
    tokio::time::timeout(TIMEOUT, after).await.ok();
    if server.is_gone() {
        return;
    }
    match random.below(2) {
        0 => server.kill(),
        _ => drop(server.stop()),
    }
}

/// `runs` runs from `seed`; everything whole again and again.
pub(super) async fn runs(runs: u32, seed: u64) {
    assert_has_fail_points();
    let mut random = Random(seed);
    let mut done = 0;
    while done < runs {
        let mut scenario = Scenario::new();
        for number in 0..PER_SCENE.min(runs - done) {
            eprintln!("run {} of {runs}, seed {seed}", done + 1);
            run(&mut scenario, &mut random).await;
            done += 1;
            if (number + 1) % PER_CHECK == 0 {
                scenario.settle().await;
            }
        }
        scenario.settle().await;
    }
}
