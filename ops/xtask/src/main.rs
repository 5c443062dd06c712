//! Commands for those who change Anneal: `cargo xtask check | bless | drill | kill | licenses | load | peers | schema | simulate`.

mod bans;
mod bless;
mod drill;
mod licenses;
mod load;
mod peers;
mod record;
mod schema;
mod simulate;
mod spdx;
mod tally;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// Maintenance of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that CI demands besides the tests.
    Check,
    /// Writes everything that outsiders rely on (schema/) anew from the source.
    Bless {
        /// Changes nothing; fails, and names the files, when something would change.
        #[arg(long)]
        check: bool,
    },
    /// Trains through GraphQL while the worker is killed and the live view dropped, and compares with an unbroken run.
    Drill(drill::DrillOptions),
    /// Kills the real binary, its training processes and its PostgreSQL at random, again and again.
    Kill {
        /// How often, what was done before included (tests/README.md).
        #[arg(long, default_value_t = 1_000)]
        runs: u64,
        /// Where the choices begin; the same seed repeats them.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Begins again at the first run.
        #[arg(long)]
        anew: bool,
    },
    /// Fails when a dependency has a licence that is not allowed in .deny.toml.
    Licenses,
    /// Works on the real binary for a day, and fails when memory, open files or lag grow.
    Load(load::LoadOptions),
    /// Runs the tests that need something heavy (tests/PEERS.md); lists them when none is named.
    Peers(peers::DrillOptions),
    /// Holds the GraphQL schema to its rules, and compares it with the last release.
    Schema {
        /// Then keeps it as that of this version (schema/released).
        #[arg(long)]
        release: bool,
    },
    /// Runs the deterministic simulation (nightly): fails, and names the seeds, when an invariant breaks.
    Simulate(simulate::Seeds),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let done = root().and_then(|root| match task {
        Task::Check => check(&root),
        Task::Bless { check: false } => bless::write(&root),
        Task::Bless { check: true } => bless::check(&root),
        Task::Drill(options) => drill::run(&root, &options),
        Task::Kill { runs, seed, anew } => kill(&root, runs, seed, anew),
        Task::Licenses => licenses::check(&root),
        Task::Load(options) => load::run(&root, &options),
        Task::Peers(options) => peers::run(&root, &options),
        Task::Schema { release: false } => schema::check(&root),
        Task::Schema { release: true } => schema::release(&root),
        Task::Simulate(seeds) => simulate::run(&root, &seeds),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every check, also after one has failed, and then names those that did.
fn check(root: &Path) -> Result<()> {
    let lints: &[&str] = &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    let checks: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("formatting", &|| formatting(root)),
        ("lints", &|| cargo(root, lints)),
        ("contracts", &|| bless::check(root)),
        ("schema", &|| schema::check(root)),
        ("licences", &|| licenses::check(root)),
    ];
    let mut failed = Vec::new();
    for (name, run) in checks {
        eprintln!("==> {name}");
        if let Err(error) = run() {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        eprintln!("==> all checks passed");
        return Ok(());
    }
    bail!("these checks failed: {}", failed.join(", "))
}

/// The packages of this repository that are no members of the workspace (tests/PEERS.md).
const OUTSIDE: [&str; 2] = ["tests/peers/kurrentdb-client", "tests/yardsticks/cqrs-es"];

fn formatting(root: &Path) -> Result<()> {
    cargo(root, &["fmt", "--all", "--check"])?;
    for package in OUTSIDE {
        let manifest = format!("{package}/Cargo.toml");
        cargo(root, &["fmt", "--manifest-path", &manifest, "--check"])?;
    }
    Ok(())
}

/// Builds the workspace, its binary with the fail points that the tests ask for, then runs the nightly kill test.
fn kill(root: &Path, runs: u64, seed: u64, anew: bool) -> Result<()> {
    build(root)?;
    let drill = tally::Drill {
        name: "kill",
        first: seed,
        wanted: runs,
        block: KILLS,
    };
    drill.go_on(root, anew, |done, count| {
        kill_block(root, count, seed + done / KILLS)
    })
}

/// Kills after which everything is verified, on a data folder of their own.
const KILLS: u64 = 20;

fn kill_block(root: &Path, runs: u64, seed: u64) -> Result<()> {
    let status = command(root)
        .args(["test", "--workspace", "--test", "it", "--locked", "--"])
        .args(["--ignored", "--exact", "kill::nightly", "--nocapture"])
        .env("KILL_RUNS", runs.to_string())
        .env("KILL_SEED", seed.to_string())
        .status()
        .context("cargo could not be run")?;
    if !status.success() {
        bail!("a run failed; `cargo xtask kill --anew --runs {runs} --seed {seed}` repeats its faults");
    }
    Ok(())
}

/// Builds programs and tests with the features of the whole workspace, so that nothing is built twice with others.
fn build(root: &Path) -> Result<()> {
    cargo(root, &["build", "--workspace", "--bins", "--tests", "--locked"])
}

/// Runs cargo in the workspace, with its output shown.
fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let status = command(root)
        .args(arguments)
        .status()
        .context("cargo could not be run")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// What Cargo tells the program that it runs of its package. Passed on to another build, it would make the build
/// scripts that look at it, and all that hangs on them, run anew.
const TOLD_BY_CARGO: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// The cargo that runs us.
fn command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if TOLD_BY_CARGO
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// The folder of the workspace: two above this package.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("the package was moved")?;
    Ok(root.to_owned())
}
