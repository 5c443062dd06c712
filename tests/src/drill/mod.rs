//! The drill: a real training through GraphQL, watched by somebody who keeps closing the laptop, whose worker is killed
//! again and again; and the same training unbroken beside it (JB-4, JB-5, E1).
//!
//! The rule: everything is asked of the real binary from outside. What is done comes from the seed; when it hits
//! depends on the machine.

mod engine;
mod history;
mod random;
mod story;
mod view;

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};

use self::{
    history::History,
    random::Random,
    story::{Finished, Story},
    view::JobTimeline,
};
use crate::harness::{
    database,
    servers::{ApiProcess, WorkerProcess},
};

/// What the drill shall do.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often the worker is killed.
    pub kills: u32,
    /// Where the choices begin.
    pub seed: u64,
    /// Steps of the adapter.
    pub steps: u32,
    /// Steps of the base.
    pub base_steps: u32,
    /// A Python with torch, transformers, peft and safetensors: the result is loaded and evaluated there too.
    pub python: Option<PathBuf>,
    /// Where base, adapter and text are left; a temporary folder if not given.
    pub keep: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kills: 10,
            seed: 1,
            steps: 500,
            base_steps: 200,
            python: None,
            keep: None,
        }
    }
}

/// A job, and how it was seen.
struct Run {
    finished: Finished,
    history: History,
    view: JobTimeline,
    kills: u32,
}

/// Runs the drill and says what happens on standard output.
///
/// # Errors
/// What was not as it should be.
///
/// # Panics
/// When the system refuses what it is asked for.
pub async fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    println!(
        "drill: seed {}, {} kills, {} steps on a base of {} steps",
        options.seed, options.kills, options.steps, options.base_steps
    );
    let room = tempfile::tempdir().context("no temporary folder")?;
    let keep = options.keep.clone().unwrap_or_else(|| room.path().join("result"));
    let database = database().await;
    let settings = ["worker.count=0".to_owned(), "worker.max_attempts=100".to_owned()];
    let api = ApiProcess::start(room.path(), &database.url, &settings).await?;
    let mut random = Random::new(options.seed);
    let mut worker = WorkerProcess::beside(&api.data, room.path(), &database.url)?;
    worker.start()?;
    let story = Story::begin(&api).await?;
    println!(
        "data: {} Markdown documents of this repository, {} bytes",
        story.documents, story.bytes
    );
    let base = story.base(options.base_steps).await?;
    println!(
        "base: {} steps, evaluation loss {}",
        base.metric("steps")?,
        base.metric("evaluation_loss")?
    );

    let unbroken = watched(&story, options, &base.model, &mut random, None).await?;
    report("unbroken", &unbroken);
    let broken = watched(&story, options, &base.model, &mut random, Some(&mut worker)).await?;
    report("broken", &broken);
    compare(&unbroken, &broken)?;

    story.download(&base.model, &keep.join("base")).await?;
    story
        .download(&broken.finished.model, &keep.join("adapter"))
        .await?;
    std::fs::write(keep.join("text.txt"), &story.text).context("the text is not kept")?;
    println!("every file of base and adapter was downloaded and has the hash that the log recorded");
    let loss = broken.finished.metric("evaluation_loss")?;
    match &options.python {
        Some(python) => {
            engine::check_with_python(python, &keep, story::EVALUATION_SHARE, story::LENGTH, loss)?;
        }
        None => println!("PEFT was not asked; give --python PATH for that"),
    }
    if let Some(kept) = &options.keep {
        println!("base, adapter and text are in {}", kept.display());
    }
    worker.stop()?;
    api.stop()?;
    println!("drill: passed in {} s", began.elapsed().as_secs());
    Ok(())
}

/// An adapter trained and watched, with a worker that is killed where `victim` is given.
async fn watched(
    story: &Story,
    options: &Options,
    base: &str,
    random: &mut Random,
    victim: Option<&mut WorkerProcess>,
) -> Result<Run> {
    let job = story.adapter(base, options.steps).await?;
    let (mut of_view, mut of_kills) = (random.fork(), random.fork());
    let seen = view::watch(&story.engineer, &job, &mut of_view);
    let killed = async {
        match victim {
            Some(worker) => killed_at_random(story, &job, worker, options.kills, &mut of_kills).await,
            None => Ok(0),
        }
    };
    let (view, kills) = tokio::try_join!(seen, killed)?;
    let whole = view::whole(&story.engineer, &job).await?;
    ensure!(
        view.items == whole,
        "the view that was resumed {} times is not what the feed tells from the beginning",
        view.closed
    );
    let finished = story.finished(&job, &view.end).await?;
    let history = History::of(&view.items, &finished.from_steps, options.steps)?;
    Ok(Run {
        finished,
        history,
        view,
        kills,
    })
}

/// Kills worker and training at random moments after their start, `kills` times, each time while the job is unfinished.
async fn killed_at_random(
    story: &Story,
    job: &str,
    worker: &mut WorkerProcess,
    kills: u32,
    random: &mut Random,
) -> Result<u32> {
    for number in 1..=kills {
        // A start and the lease of the one before take some four seconds; the rest is training.
        let delay = random.between(300, 9_000);
        tokio::time::sleep(delay).await;
        let (state, step) = story.state_and_step(job).await?;
        ensure!(
            !["COMPLETED", "FAILED", "CANCELLED"].contains(&state.as_str()),
            "the job was {state} before kill {number}; give more --steps"
        );
        let trainers = worker.kill()?;
        println!(
            "kill {number}: {:.1} s after its start, job {state} at step {step}, {trainers} training process killed",
            delay.as_secs_f64()
        );
        worker.start()?;
    }
    Ok(kills)
}

fn report(name: &str, run: &Run) {
    let Run {
        finished,
        history,
        view,
        kills,
    } = run;
    println!(
        "{name}: {} steps each seen once, {} repeated with equal losses, {} attempts, {kills} kills, view closed and resumed {} \
         times, {} items; adapter SHA-256 {}, evaluation loss {}",
        history.losses.len(),
        history.repeated,
        finished.from_steps.len(),
        view.closed,
        view.items.len(),
        finished.sha256,
        finished
            .metrics
            .get("evaluation_loss")
            .map_or("none", String::as_str),
    );
}

/// The broken run ends where the unbroken one does, and went the same way.
fn compare(unbroken: &Run, broken: &Run) -> Result<()> {
    let (one, other) = (&unbroken.finished, &broken.finished);
    ensure!(
        one.sha256 == other.sha256,
        "the adapters differ: {} and {}",
        one.sha256,
        other.sha256
    );
    for name in [
        "steps",
        "tokens",
        "loss",
        "initial_evaluation_loss",
        "evaluation_loss",
        "perplexity",
    ] {
        ensure!(
            one.metrics.get(name) == other.metrics.get(name) && one.metrics.contains_key(name),
            "{name} differs: {:?} and {:?}",
            one.metrics.get(name),
            other.metrics.get(name)
        );
    }
    ensure!(
        unbroken.history.losses == broken.history.losses,
        "the losses on the way differ"
    );
    println!("both adapters have equal hashes, equal losses at every step and equal evaluations");
    Ok(())
}
