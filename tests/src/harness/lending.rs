//! One PostgreSQL for many test processes, as a runner needs that starts a process for each test (nextest).
//!
//! The rule: it lives as long as the runner, whatever ends that. So the program that the runner starts first leaves a
//! second one behind, which keeps the cluster and looks after the runner; see `tests/src/bin/test_cluster.rs`.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::{CommandExt as _, parent_id},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::signal::kill, unistd::Pid};

use super::cluster::{LENT, start};

/// The argument of the program that keeps the cluster, before the runner's process.
pub const KEEP: &str = "--keep-for";
/// How often is looked whether the runner is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Starts `program` (this one) as the keeper of a cluster for the process that started us, waits until it is ready, and
/// writes where it is into the file `environment` as a line `NAME=value`.
///
/// # Errors
/// When the keeper does not start, or the file cannot be written.
pub fn lend(program: &Path, environment: &Path) -> Result<()> {
    let mut keeper = Command::new(program)
        .args([KEEP, &parent_id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for the runner; the keeper goes after it.
        .process_group(0)
        .spawn()
        .context("the keeper of the cluster does not start")?;
    let output = keeper.stdout.take().context("it has an output")?;
    let mut said = String::new();
    BufReader::new(output).read_line(&mut said)?;
    let folder = said.trim();
    ensure!(
        !folder.is_empty(),
        "no PostgreSQL for the tests; `cargo test` says why"
    );
    let mut file = OpenOptions::new().append(true).create(true).open(environment)?;
    writeln!(file, "{LENT}={folder}").context("the runner's file cannot be written")
}

/// Keeps a cluster until the process `runner` is gone, and says its folder on standard output once it is ready.
///
/// # Errors
/// When it does not start.
pub async fn keep(runner: i32) -> Result<()> {
    let own = start(async |url: &str| projections::database::migrate(url).await).await?;
    writeln!(std::io::stdout(), "{}", own.folder.display())?;
    while kill(Pid::from_raw(runner), None).is_ok() {
        tokio::time::sleep(LOOK).await;
    }
    drop(own);
    Ok(())
}
