//! Runs the simulation: `simulate --seeds <number> [--first <seed>]`, or `simulate --seed <seed>` with its whole trace.
//!
//! The rule: ends with an error when any seed breaks an invariant, after all seeds have run.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread::available_parallelism,
};

use anyhow::{Context as _, Result, bail};
use tests::simulation::run;

/// Broken seeds that are explained in full.
const EXPLAINED: usize = 3;

fn main() -> ExitCode {
    match simulate() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn simulate() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut seeds, mut first, mut seed) = (None, 0, None);
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            bail!("{} needs a number", pair.join(" "));
        };
        let value: u64 = value
            .parse()
            .with_context(|| format!("{name} needs a number, not '{value}'"))?;
        match name.as_str() {
            "--seeds" => seeds = Some(value),
            "--first" => first = value,
            "--seed" => seed = Some(value),
            other => bail!("there is no {other}; say --seeds <number> [--first <seed>], or --seed <seed>"),
        }
    }
    match (seed, seeds) {
        (Some(seed), _) => Ok(one(seed)),
        (None, Some(seeds)) => Ok(many(first, seeds)),
        (None, None) => bail!("say --seeds <number> [--first <seed>], or --seed <seed>"),
    }
}

fn one(seed: u64) -> bool {
    let run = run(seed);
    print!("{}", run.trace);
    if !run.broken.is_empty() {
        eprintln!("seed {seed} breaks:\n  {}", run.broken.join("\n  "));
        return false;
    }
    let (jobs, completed) = run.jobs;
    eprintln!(
        "seed {seed} holds: {} steps, {} events, {completed} of {jobs} jobs completed, {} stale reports refused",
        run.steps, run.events, run.stale
    );
    true
}

fn many(first: u64, seeds: u64) -> bool {
    let (next, events) = (AtomicU64::new(first), AtomicU64::new(0));
    let end = first.saturating_add(seeds);
    let work = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return broken;
            }
            let run = run(seed);
            events.fetch_add(run.events as u64, Ordering::Relaxed);
            if !run.broken.is_empty() {
                eprintln!("seed {seed} breaks: {}", run.broken.join("; "));
                broken.push(run);
            }
        }
    };
    let threads = available_parallelism().map_or(1, std::num::NonZero::get);
    let mut broken = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    broken.sort_by_key(|run| run.seed);
    for run in broken.iter().take(EXPLAINED) {
        eprintln!("\n{}", run.explanation());
    }
    eprintln!(
        "{} of {seeds} seeds from {first} hold; {} events were recorded",
        seeds - broken.len() as u64,
        events.into_inner()
    );
    broken.is_empty()
}
