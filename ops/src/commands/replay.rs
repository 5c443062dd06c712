//! `anneal replay`: read models folded anew from the log, beside a running system or without one.
//!
//! The rule: the live read models are served all the while, and nothing of them changes before the swap. Ended at
//! any moment, it leaves what is built, and the next call goes on from there.

use std::{io::IsTerminal as _, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use domain::{clock::SystemClock, event_store::EventStore};
use event_store::postgres::app_pool;
use indicatif::{ProgressBar, ProgressStyle};
use projections::{
    read_model::Projector,
    rebuild::{Comparison, Difference, Outcome, Phase, Rebuild, RebuildOptions, Step},
};
use sqlx::PgPool;

use super::{database, signals::Signals};
use crate::{
    complain,
    config::Config,
    say,
    system::{open_log, opened},
};

/// Rows of a live read model differ from the log.
const DIFFERENT: u8 = 4;
/// How long a process that is not heard of keeps others from rebuilding.
const LEASE: Duration = Duration::from_secs(10);
/// How often it is looked whether another process has finished.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Options of `anneal replay`.
pub struct ReplayOptions {
    projectors: Vec<Arc<dyn Projector>>,
    options: RebuildOptions,
    json: bool,
}

impl ReplayOptions {
    /// Checks the names, all at once.
    ///
    /// # Errors
    /// The names that are not known, and those that are.
    pub fn of(names: &[String], all: bool, check: bool, no_swap: bool, json: bool) -> Result<Self, String> {
        let mut known: Vec<Arc<dyn Projector>> = projections::all().into_iter().map(Arc::from).collect();
        known.sort_by_key(|projector| projector.name());
        let unknown: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !known.iter().any(|projector| projector.name() == *name))
            .collect();
        if !unknown.is_empty() {
            let list: Vec<&str> = known.iter().map(|projector| projector.name()).collect();
            return Err(format!(
                "there is no read model {}; these are known: {}",
                unknown.join(", "),
                list.join(", ")
            ));
        }
        known.retain(|projector| all || names.iter().any(|name| name == projector.name()));
        Ok(Self {
            projectors: known,
            options: RebuildOptions {
                compare: true,
                swap: !check && !no_swap,
                discard: check,
            },
            json,
        })
    }
}

/// Rebuilds what is wanted. The exit code is 4 when rows differ, else 0.
///
/// # Errors
/// When the database or the log fails, or an event cannot be folded.
pub async fn run(config: Config, request: ReplayOptions) -> anyhow::Result<ExitCode> {
    let opened = database::open(&config).await?;
    let data_dir = &config.general.data_dir;
    let mut signals = Signals::listen()?;
    let outcome = tokio::select! {
        outcome = replay(&opened.url, &opened.events, data_dir, request) => outcome,
        () = signals.first() => {
            complain!("Interrupted. The live read models are as they were; run the same again to go on.");
            Ok(ExitCode::from(130))
        }
    };
    opened.close().await?;
    outcome
}

async fn replay(
    url: &str,
    events: &str,
    data_dir: &Path,
    request: ReplayOptions,
) -> anyhow::Result<ExitCode> {
    projections::database::migrate(url).await?;
    let store = open_log(events, url, Arc::new(SystemClock)).await?;
    let pool = app_pool(url, 4).await?;
    let outcomes = async {
        // The live read models were folded with personal data open; so are those that take their place.
        let opened = opened(store.clone(), pool.clone(), data_dir).await?;
        rebuild(opened, pool.clone(), &request).await
    };
    let outcomes = outcomes.await;
    pool.close().await;
    store.close(Duration::from_secs(5)).await;
    report(&outcomes?, &request)
}

async fn rebuild(
    store: Arc<dyn EventStore>,
    pool: PgPool,
    request: &ReplayOptions,
) -> anyhow::Result<Vec<Outcome>> {
    let bar = bar(request.json)?;
    let rebuild = loop {
        match Rebuild::begin(store.clone(), pool.clone(), LEASE).await? {
            Some(rebuild) => break rebuild,
            None => {
                bar.set_message("another process rebuilds read models; waiting for it");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    };
    let heard = |step: Step| {
        bar.set_length(step.goal.0);
        bar.set_position(step.position.0);
        bar.set_message(match step.phase {
            Phase::Folding => "folding the log",
            Phase::Indexing => "making indexes",
            Phase::Comparing => "comparing with the live read models",
            Phase::Swapping => "swapping",
        });
    };
    let outcomes = rebuild
        .run(request.projectors.clone(), request.options, &heard)
        .await;
    bar.finish_and_clear();
    rebuild.end().await?;
    Ok(outcomes?)
}

/// A bar on standard error, where somebody looks at it.
fn bar(json: bool) -> anyhow::Result<ProgressBar> {
    if json || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{msg} [{bar:32}] {human_pos} of {human_len} events, {per_sec}")
        .context("the template of the progress bar")?;
    Ok(ProgressBar::new(0).with_style(style))
}

fn report(outcomes: &[Outcome], request: &ReplayOptions) -> anyhow::Result<ExitCode> {
    let equal = |outcome: &Outcome| outcome.comparison.as_ref().is_none_or(Comparison::is_equal);
    let same = outcomes.iter().all(equal);
    let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
    if request.json {
        let report = serde_json::json!({ "equal": same, "failed": failed, "readModels": outcomes });
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        outcomes.iter().for_each(print);
    }
    Ok(match (failed, same) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
        // What differed was replaced by what the log says.
        (false, false) if request.options.swap => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(DIFFERENT),
    })
}

fn print(outcome: &Outcome) {
    let name = outcome.name;
    if let Some(failure) = &outcome.failure {
        say!("{name}: FAILED: {failure}");
        return;
    }
    let done = match outcome.swapped {
        true => format!("rebuilt up to position {} and swapped in", outcome.position),
        false => format!("rebuilt up to position {}", outcome.position),
    };
    let Some(found) = &outcome.comparison else {
        say!("{name}: {done}");
        return;
    };
    match found.is_equal() {
        true => say!(
            "{name}: {done}; all {} rows were equal at position {}",
            found.same,
            found.position
        ),
        false => say!(
            "{name}: {done}; AT POSITION {} THE LIVE ROWS DIFFERED: {} missing, {} surplus, {} different, {} equal",
            found.position,
            found.missing,
            found.surplus,
            found.different,
            found.same
        ),
    }
    for example in &found.examples {
        match example {
            Difference::Missing { table, key } => say!("  {table} {key}: missing"),
            Difference::Surplus { table, key } => say!("  {table} {key}: surplus"),
            Difference::Different { table, key, columns } => {
                say!("  {table} {key}: differs in {}", columns.join(", "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplayOptions;

    #[test]
    fn all_unknown_names_are_told_at_once_with_those_that_are_known() {
        let names = ["projects.project", "nonsense", "more.nonsense"].map(str::to_owned);
        let problem = ReplayOptions::of(&names, false, true, false, false).err();
        let problem = problem.expect("two of them are unknown");
        assert!(problem.contains("nonsense, more.nonsense"), "{problem}");
        assert!(problem.contains("audit.entry"), "{problem}");
    }

    #[test]
    fn all_means_all() {
        let request = ReplayOptions::of(&[], true, false, false, false);
        let count = request.map(|request| request.projectors.len());
        assert_eq!(count.ok(), Some(projections::all().len()));
    }
}
