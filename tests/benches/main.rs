//! The figures of Anneal, measured on this machine: `cargo bench -p tests --bench figures [-- name… --quick]`.
//!
//! One rule: a figure stands beside its yardstick, measured in turns with it in the same run, so that a slow or
//! busy machine slows both. Standard output carries one JSON object, standard error a short table. It fails when a
//! figure that `goals` names misses its goal.

mod appends;
mod cancelling;
mod child;
mod contention;
mod counter;
mod cpu;
mod cqrs;
mod crash;
mod crowd;
mod feed;
mod goals;
mod hot;
mod idle;
mod integrity;
mod library;
mod load;
mod logins;
mod long_start;
mod machine;
mod memory;
mod mixed;
mod numbers;
mod processes;
mod program;
mod projections;
mod reads;
mod rebuild;
mod refusals;
mod reporting;
mod requests;
mod scale;
mod seed;
mod single;
mod start;
mod table;
mod training;

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use scale::{EVENTS, Scale};
use serde_json::{Map, Value, json};
use tests::harness::{TestApp, database};
use tokio::runtime::{Builder, Runtime};

/// That of the product, which is measured in this process too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything that can be measured, in the order in which it is.
const NAMES: &[&str] = &[
    "appends",
    "processes",
    "reads",
    "hot",
    "projections",
    "rebuild",
    "integrity",
    "requests",
    "contention",
    "feed",
    "idle",
    "crowd",
    "training",
    "reporting",
    "cancelling",
    "refusals",
    "logins",
    "start",
];
/// Where the harness puts its PostgreSQL. Tests like memory; here flushing to disk has to cost what it costs.
pub(crate) const PLACE: &str = "ANNEAL_TEST_DIR";
/// Name of the threads that the application under test runs on.
pub(crate) const SERVER: &str = "server";
/// Name of the threads that ask it.
const CLIENT: &str = "client";

fn main() -> ExitCode {
    if std::env::var_os(PLACE).is_none() {
        return again_on_disk();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((flag, task)) if flag == child::FLAG => as_child(task),
        _ if arguments.iter().any(|argument| argument == "--help") => help(),
        _ => figures(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again with its databases in the temporary folder; comes back only with a failure.
fn again_on_disk() -> ExitCode {
    let error = std::env::current_exe().map(|own| {
        Command::new(own)
            .args(std::env::args_os().skip(1))
            .env(PLACE, std::env::temp_dir())
            .exec()
    });
    eprintln!("cannot start again with {PLACE}: {error:?}");
    ExitCode::FAILURE
}

fn help() -> Result<()> {
    writeln!(
        std::io::stdout(),
        "usage: cargo bench -p tests --bench figures [-- NAME... --quick --events=N --cqrs-es]\n\nMeasures what is named, or \
         everything: {}.\n--quick shows in a minute that it can be measured, and holds only ratios in turns to their goals; --events=N takes \
         a long log of N events; --cqrs-es \
         measures appends of that event store too.",
        NAMES.join(", ")
    )?;
    Ok(())
}

fn as_child(task: &[String]) -> Result<()> {
    runtime(CLIENT)?.block_on(child::run(task))
}

fn figures(arguments: &[String]) -> Result<()> {
    let (wanted, scale) = (wanted(arguments)?, Scale::of(arguments)?);
    if wanted.iter().any(|name| {
        matches!(
            name.as_str(),
            "training" | "reporting" | "cancelling" | "start" | "idle" | "crowd"
        )
    }) {
        program::build()?;
    }
    let others: &'static [&'static str] = match arguments.iter().any(|argument| argument == cqrs::FLAG) {
        true => &[cqrs::NAME],
        false => &[],
    };
    if !others.is_empty() {
        cqrs::build()?;
    }
    let (server, client) = (runtime(SERVER)?, runtime(CLIENT)?);
    let mut report = Map::new();
    report.insert("machine".to_owned(), machine::describe()?);
    let begun = Instant::now();
    for name in &wanted {
        eprintln!("measuring {name} …");
        let figure = client
            .block_on(measure(name, &server, scale, others))
            .with_context(|| format!("{name} cannot be measured"))?;
        report.insert(name.clone(), figure);
    }
    report.insert("seconds".to_owned(), json!(begun.elapsed().as_secs()));
    let report = Value::Object(report);
    table::print(&report);
    writeln!(std::io::stdout(), "{report:#}")?;
    goals::held(&report, scale)
}

/// Flags that mean something here, and the one that Cargo adds.
const FLAGS: &[&str] = &["--quick", "--bench", cqrs::FLAG];

/// The figures that the arguments name; all without any.
fn wanted(arguments: &[String]) -> Result<Vec<String>> {
    let mut flags = arguments.iter().filter(|argument| argument.starts_with("--"));
    if let Some(unknown) = flags.find(|flag| !FLAGS.contains(&flag.as_str()) && !flag.starts_with(EVENTS)) {
        anyhow::bail!("there is no option '{unknown}'; see --help");
    }
    let named: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let Some(unknown) = named.iter().find(|name| !NAMES.contains(&name.as_str())) {
        anyhow::bail!("there is no figure '{unknown}'; there are {}", NAMES.join(", "));
    }
    let all = NAMES.iter().map(|name| (*name).to_owned());
    Ok(all
        .filter(|name| named.is_empty() || named.contains(&name))
        .collect())
}

fn runtime(name: &'static str) -> Result<Runtime> {
    let built = Builder::new_multi_thread().thread_name(name).enable_all().build();
    built.with_context(|| format!("the threads of the {name}"))
}

/// A fresh application whose tasks run on `server`, with an administrator and without workers.
pub(crate) async fn application(server: &Runtime) -> Result<TestApp> {
    let server = server.handle().clone();
    Ok(tokio::task::spawn_blocking(move || server.block_on(TestApp::start())).await?)
}

async fn measure(
    name: &str,
    server: &Runtime,
    scale: Scale,
    others: &'static [&'static str],
) -> Result<Value> {
    match name {
        "appends" => {
            let url = database().await.url;
            server
                .spawn(async move { appends::run(&url, scale, others).await })
                .await?
        }
        "processes" => processes::run(&database().await.url, scale).await,
        "reads" => reads::run(scale).await,
        "hot" => hot::run(&database().await.url, scale).await,
        "projections" => projections::run(scale).await,
        "rebuild" => rebuild::run(scale).await,
        "integrity" => integrity::run(scale).await,
        "requests" => requests::run(server).await,
        "contention" => contention::run(server, scale).await,
        "feed" => feed::run(server).await,
        "idle" => idle::run(scale).await,
        "crowd" => crowd::run(scale).await,
        "training" => training::run().await,
        "reporting" => reporting::run(scale).await,
        "cancelling" => cancelling::run(scale).await,
        "refusals" => refusals::run(scale),
        "logins" => logins::run(scale).await,
        other => {
            ensure!(other == "start", "there is no figure '{other}'");
            start::run(scale).await
        }
    }
}
