//! A load that lasts: people work on the real binary for as long as is wanted, while memory, open files and lag are
//! sampled (OP-7).
//!
//! The rule: what grows with time, and not with what is stored, fails; so does an answer that the system is to blame for.

mod people;
mod samples;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    people::{Outcomes, Worker},
    samples::{Samples, Watch},
};
use crate::harness::{database, people as accounts, servers::ApiProcess};

/// How the load is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it lasts.
    pub lasts: Duration,
    /// How many people work at the same time.
    pub people: u32,
    /// Between two samples.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(24 * 60 * 60),
            people: 8,
            every: Duration::from_secs(60),
        }
    }
}

/// One answer in so many may be a refusal by rule, as of a quota.
const REFUSED: u64 = 20;
/// How long everything that was begun may take after the load.
const SETTLED: Duration = Duration::from_secs(120);

/// Runs the load, and says on standard output what was seen.
///
/// # Errors
/// What was not as it should be; everything of it.
///
/// # Panics
/// When the accounts cannot be set up.
pub async fn run(options: &Options) -> Result<()> {
    let room = tempfile::tempdir().context("no temporary folder")?;
    let database = database().await;
    let settings = ["worker.count=1".to_owned(), "worker.threads=1".to_owned()];
    let api = ApiProcess::start(room.path(), &database.url, &settings).await?;
    let admin = accounts::administrator(&api.url, &api.data).await;
    let (stop, outcomes) = (CancellationToken::new(), Arc::new(Outcomes::default()));
    let mut work = JoinSet::new();
    for number in 0..options.people {
        let name = format!("person{number}");
        let client = accounts::person(&admin, &api.data, &name, "engineer_i").await;
        let worker = Worker::new(client, name, number, Arc::clone(&outcomes)).await?;
        work.spawn(worker.work(stop.clone()));
    }
    let (began, mut samples) = (Instant::now(), Samples::default());
    let watch = Watch::new(api.process_id(), &api.url)?;
    while began.elapsed() < options.lasts {
        let left = options.lasts.saturating_sub(began.elapsed());
        tokio::time::sleep(options.every.min(left)).await;
        let sample = watch.look(began.elapsed()).await?;
        println!("{sample}, {}", outcomes.told());
        samples.add(sample);
    }
    stop.cancel();
    while let Some(ended) = work.join_next().await {
        ended.context("somebody stopped working")?;
    }
    let settled = watch.settles(SETTLED).await;
    api.stop()?;
    let mut wrong = samples.wrong();
    wrong.extend(settled.err().map(|error| error.to_string()));
    let blamed = outcomes.blamed();
    wrong
        .extend((!blamed.is_empty()).then(|| format!("answers that the system is to blame for: {blamed:?}")));
    let (refused, answered) = outcomes.refusals();
    // Else it is no load.
    if refused * REFUSED > answered || answered == 0 {
        wrong.push(format!("{refused} of {answered} answers were refusals"));
    }
    let minutes = began.elapsed().as_secs() / 60;
    println!(
        "{} people for {minutes} minutes: {answered} answers",
        options.people
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}
