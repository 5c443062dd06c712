//! Kill tests (E1): the real binary dies at every named fail point, and loses nothing.
//!
//! The rule: a point that is never reached proves nothing, so a test fails when one is not. Further random
//! kills, of the server, of its training processes and of PostgreSQL: `cargo xtask kill`.

mod caller;
mod clock;
mod damage;
mod disk_full;
mod points;
mod postgres;
mod private_files;
mod random;
mod scenario;
mod server;
mod start_up;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anneal::fail_points::{POINTS, Passed};
use nix::sys::signal::Signal;

use self::{
    caller::Lost,
    scenario::{Scenario, Size},
    server::{Server, assert_has_fail_points, last_words},
};

/// How long a server that was told to do so may take to die.
const DEATH: Duration = Duration::from_secs(120);
/// Pause after an answer that did not come.
const PAUSE: Duration = Duration::from_millis(50);

fn names(passed: &[Passed]) -> BTreeSet<String> {
    let wanted = POINTS.iter().filter(|point| passed.contains(&point.passed));
    wanted.map(|point| point.name.to_owned()).collect()
}

/// All of `names` armed; which passage kills differs from point to point, up to `spread`.
fn armed(names: &BTreeSet<String>, spread: usize) -> String {
    let nth = |index: usize| 1 + index % spread;
    let entries: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| format!("{name}=kill:{}", nth(index)))
        .collect();
    entries.join(";")
}

/// The points of `names` that no process has died at yet.
fn left(scenario: &Scenario, names: &BTreeSet<String>) -> BTreeSet<String> {
    names.difference(&scenario.reached()).cloned().collect()
}

/// Waits until the server has died as one of its points tells it to.
async fn death(scenario: &Scenario, mut server: Server, what: &str) {
    let begun = Instant::now();
    while !server.is_gone() {
        assert!(
            begun.elapsed() < DEATH,
            "{what}: nothing died: {}",
            last_words(&scenario.data)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a server is given to do until it dies.
#[derive(Clone, Copy, Debug)]
enum Work {
    Round,
    Erasure,
    Job(Size),
}

/// One piece of work.
async fn piece(scenario: &mut Scenario, url: &str, work: Work) -> Result<(), Lost> {
    match work {
        Work::Round => scenario.round(url, None).await.map(drop),
        Work::Erasure => scenario.erasure(url).await,
        Work::Job(size) => match scenario.round(url, Some(size)).await? {
            Some(job) => scenario.until(url, &job, &["COMPLETED"]).await,
            None => Ok(()),
        },
    }
}

/// Works until the server has died as one of its points tells it to. An answer that does not come ends
/// nothing: right after a start, a server may still be busy with what the last one left.
async fn work_to_death(scenario: &mut Scenario, mut server: Server, work: Work, what: &str) {
    let (begun, mut last) = (Instant::now(), None);
    while !server.is_gone() {
        assert!(
            begun.elapsed() < DEATH,
            "{what}: nothing died of {work:?}, {last:?}: {}",
            last_words(&scenario.data)
        );
        if let Err(lost) = piece(scenario, &server.url, work).await {
            last = Some(lost);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Starts servers and works on them until each of `points` has killed one.
async fn die_of_all(scenario: &mut Scenario, points: &BTreeSet<String>, spread: usize, work: Work) {
    loop {
        let open = left(scenario, points);
        if open.is_empty() {
            return;
        }
        if let Ok(server) = scenario.start(&armed(&open, spread)) {
            work_to_death(scenario, server, work, &format!("{open:?}")).await;
        }
        assert!(
            left(scenario, points).len() < open.len(),
            "{open:?}: {}",
            last_words(&scenario.data)
        );
    }
}

/// Works on a server that nothing kills until a round, and the start of a job if `size` says so, is through.
async fn one_round(scenario: &mut Scenario, server: &Server, size: Option<Size>) -> Option<String> {
    let begun = Instant::now();
    loop {
        match scenario.round(&server.url, size).await {
            Ok(job) => return job,
            Err(lost) => assert!(
                begun.elapsed() < DEATH,
                "{lost:?}: {}",
                last_words(&scenario.data)
            ),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Set-up, migration and every start after it; then every step of a shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_and_stops_survive_a_kill_at_every_point() {
    assert_has_fail_points();
    let mut scenario = Scenario::new();
    let starts = names(&[Passed::FirstStart, Passed::Start]);
    loop {
        let open = left(&scenario, &starts);
        match scenario.start(&armed(&open, 1)) {
            Err(_) => assert!(
                left(&scenario, &starts).len() < open.len(),
                "{}",
                last_words(&scenario.data)
            ),
            // The projections lead a moment later than the system listens.
            Ok(server) if !open.is_empty() => death(&scenario, server, &format!("{open:?}")).await,
            Ok(server) => {
                server.kill();
                break;
            }
        }
    }
    let stops = names(&[Passed::Stop]);
    while !left(&scenario, &stops).is_empty() {
        let open = left(&scenario, &stops);
        let server = scenario.start(&armed(&open, 1)).expect("it starts");
        one_round(&mut scenario, &server, None).await;
        server.signal(Signal::SIGINT);
        death(&scenario, server, &format!("{open:?}")).await;
        assert!(
            left(&scenario, &stops).len() < open.len(),
            "{open:?}: {}",
            last_words(&scenario.data)
        );
    }
    scenario.settle().await;
}

/// Append, projections, uploads, signed checkpoints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn use_survives_a_kill_at_every_point() {
    assert_has_fail_points();
    let mut scenario = Scenario::new();
    die_of_all(&mut scenario, &names(&[Passed::Use]), 3, Work::Round).await;
    scenario.settle().await;
}

/// AU-7: the key of a person, the rebuilt read models and the receipt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasures_survive_a_kill_at_every_point() {
    assert_has_fail_points();
    let mut scenario = Scenario::new();
    die_of_all(&mut scenario, &names(&[Passed::Erasure]), 1, Work::Erasure).await;
    scenario.settle().await;
}

/// Leases, jobs, checkpoints, results; the training process; and the reaper of workers that were lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_kill_at_every_point() {
    assert_has_fail_points();
    let mut scenario = Scenario::new();
    let training = names(&[Passed::Training]);
    let server = scenario.start(&armed(&training, 1)).expect("it starts");
    let job = one_round(&mut scenario, &server, Some(Size::Short)).await;
    scenario
        .until(&server.url, &job.expect("a job"), &["COMPLETED"])
        .await
        .expect("the job outlives its processes");
    assert_eq!(
        left(&scenario, &training),
        BTreeSet::new(),
        "{}",
        last_words(&scenario.data)
    );
    server.kill();

    let points = names(&[Passed::Job, Passed::LostWorker]);
    die_of_all(&mut scenario, &points, 1, Work::Job(Size::Short)).await;
    let points = names(&[Passed::LongJob]);
    die_of_all(&mut scenario, &points, 1, Work::Job(Size::Long)).await;

    let stop = names(&[Passed::StopDuringJob]);
    let server = scenario.start(&armed(&stop, 1)).expect("it starts");
    let job = one_round(&mut scenario, &server, Some(Size::Long)).await;
    scenario
        .until(&server.url, &job.expect("a job"), &["RUNNING"])
        .await
        .expect("it runs");
    server.signal(Signal::SIGINT);
    death(&scenario, server, "job.before_interrupt").await;
    assert_eq!(
        left(&scenario, &stop),
        BTreeSet::new(),
        "{}",
        last_words(&scenario.data)
    );
    scenario.settle().await;
}

/// A few of the nightly's random kills, always the same ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_random_kills_lose_nothing() {
    random::runs(6, 7).await;
}

/// The nightly: `cargo xtask kill --runs 1000 --seed 1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes hours; cargo xtask kill runs it"]
async fn nightly() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let runs = number("KILL_RUNS").unwrap_or(1_000);
    random::runs(
        u32::try_from(runs).expect("not so many"),
        number("KILL_SEED").unwrap_or(1),
    )
    .await;
}
