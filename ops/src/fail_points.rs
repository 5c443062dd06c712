//! The places where tests kill this process, and how they are armed. Only with the feature `fail-points`.
//!
//! The rule: every place in the code has its line in [`POINTS`], and every line its place
//! (`tests/it/kill/points.rs` reads the sources). `ANNEAL_FAIL_POINTS` arms them, parted by `;`:
//!
//! ```text
//! <point>=kill[:n]    SIGKILL to this process at the n-th passage (the first if not said)
//! <point>=panic[:n]   a panic at the n-th passage
//! <point>=error[:n]   the place's own error at the n-th passage, where `Point::fails` says that it has one
//! <point>=sleep:ms    a pause at each passage
//! ```
//!
//! `ANNEAL_FAIL_POINTS_REACHED` names a file to which `kill` writes the point before it kills. A point that
//! stands there already is not armed again, so that of a server and its training processes, one dies once.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The variables that this module reads.
pub const VARIABLES: [&str; 2] = [ARM, REACHED];
const ARM: &str = "ANNEAL_FAIL_POINTS";
const REACHED: &str = "ANNEAL_FAIL_POINTS_REACHED";

/// When a point is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// When the data folder is set up for the first time.
    FirstStart,
    /// At each start.
    Start,
    /// While people and programs use the system.
    Use,
    /// While a person is erased.
    Erasure,
    /// While a job is worked on.
    Job,
    /// While a job is worked on that lasts longer than the pause between two heartbeats.
    LongJob,
    /// In the process that trains.
    Training,
    /// When a worker that was lost is found.
    LostWorker,
    /// When the system is told to stop.
    Stop,
    /// When it is told to stop while a job is under way.
    StopDuringJob,
}

/// One place.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its name, as in the source.
    pub name: &'static str,
    /// When it is passed.
    pub passed: Passed,
    /// Whether `error` works there.
    pub fails: bool,
}

const fn point(name: &'static str, passed: Passed) -> Point {
    Point {
        name,
        passed,
        fails: false,
    }
}

const fn failing(name: &'static str, passed: Passed) -> Point {
    Point {
        name,
        passed,
        fails: true,
    }
}

/// All places.
pub const POINTS: &[Point] = &[
    point("setup.folder_locked", Passed::FirstStart),
    point("setup.cluster_made", Passed::FirstStart),
    point("setup.before_server", Passed::Start),
    point("setup.cluster_started", Passed::Start),
    point("setup.database_created", Passed::Start),
    point("setup.before_migration", Passed::Start),
    point("setup.migrated", Passed::Start),
    point("setup.before_roles", Passed::Start),
    point("setup.roles_recorded", Passed::Start),
    point("setup.key_linked", Passed::FirstStart),
    point("setup.token_begun", Passed::FirstStart),
    point("setup.token_written", Passed::Start),
    failing("append.before_lock", Passed::Use),
    failing("append.after_lock", Passed::Use),
    failing("append.before_insert", Passed::Use),
    failing("append.before_commit", Passed::Use),
    failing("append.after_commit", Passed::Use),
    point("append.answered", Passed::Use),
    point("projection.leading", Passed::Start),
    failing("projection.before_rows", Passed::Use),
    failing("projection.after_rows", Passed::Use),
    failing("projection.before_commit", Passed::Use),
    failing("projection.after_commit", Passed::Use),
    point("object.before_flush", Passed::Use),
    point("object.flushed", Passed::Use),
    point("object.named", Passed::Use),
    point("upload.stored", Passed::Use),
    point("upload.recorded", Passed::Use),
    point("signer.before_commit", Passed::Use),
    point("signer.recorded", Passed::Use),
    point("signer.exported", Passed::Use),
    point("reactor.before_effect", Passed::Use),
    point("reactor.effect_done", Passed::Use),
    point("reactor.before_checkpoint", Passed::Use),
    point("reactor.before_settled", Passed::Erasure),
    point("erasure.before_key_destroyed", Passed::Erasure),
    point("erasure.key_destroyed", Passed::Erasure),
    point("erasure.rebuild_requested", Passed::Erasure),
    point("rebuild.before_swap", Passed::Erasure),
    point("rebuild.swapped", Passed::Erasure),
    point("erasure.before_receipt", Passed::Erasure),
    point("erasure.receipt_recorded", Passed::Erasure),
    point("lease.before_record", Passed::Job),
    point("lease.recorded", Passed::Job),
    failing("lease.before_claim", Passed::Job),
    point("lease.claimed", Passed::Job),
    failing("lease.before_beat", Passed::LongJob),
    point("lease.before_release", Passed::Job),
    point("job.prepared", Passed::Job),
    point("job.child_started", Passed::Job),
    point("job.before_progress", Passed::Job),
    point("job.checkpoint_verified", Passed::Job),
    point("job.checkpoint_recorded", Passed::Job),
    point("job.checkpoint_stored", Passed::Job),
    point("job.checkpoint_stored_recorded", Passed::Job),
    point("job.checkpoint_released", Passed::Job),
    point("job.result_stored", Passed::Job),
    point("job.result_recorded", Passed::Job),
    point("job.before_tidy", Passed::Job),
    point("job.before_interrupt", Passed::StopDuringJob),
    point("trainer.stepped", Passed::Training),
    point("trainer.before_checkpoint", Passed::Training),
    point("trainer.folder_staged", Passed::Training),
    point("trainer.folder_named", Passed::Training),
    point("trainer.checkpoint_written", Passed::Training),
    point("trainer.result_written", Passed::Training),
    point("reaper.before_record", Passed::LostWorker),
    point("reaper.recorded", Passed::LostWorker),
    point("shutdown.begun", Passed::Stop),
    point("shutdown.workers_ended", Passed::Stop),
    point("shutdown.before_log_closes", Passed::Stop),
    point("shutdown.before_database_stops", Passed::Stop),
];

/// Arms what the environment says. To be called once, before anything else.
///
/// # Errors
/// When a point is unknown or cannot do what is asked of it.
pub fn arm() -> anyhow::Result<()> {
    let Ok(wanted) = std::env::var(ARM) else {
        return Ok(());
    };
    let reached = std::env::var_os(REACHED).map(PathBuf::from);
    for entry in wanted.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, action) = entry
            .split_once('=')
            .with_context(|| format!("{ARM}: {entry}: write it as point=action"))?;
        let point = POINTS
            .iter()
            .find(|point| point.name == name)
            .with_context(|| format!("{ARM}: there is no point {name}"))?;
        arm_one(point, action, reached.as_deref()).with_context(|| format!("{ARM}: {entry}"))?;
    }
    Ok(())
}

fn arm_one(point: &Point, action: &str, reached: Option<&Path>) -> anyhow::Result<()> {
    let (verb, number) = action.split_once(':').unwrap_or((action, "1"));
    let number: u32 = number.parse().context("what follows the colon is no number")?;
    let before = number.saturating_sub(1);
    let armed = match verb {
        "kill" => return kill_at(point.name, number, reached),
        "panic" => fail::cfg(point.name, &format!("{before}*off->1*panic")),
        "error" if point.fails => fail::cfg(point.name, &format!("{before}*off->1*return")),
        "error" => bail!("this point has no error of its own"),
        "sleep" => fail::cfg(point.name, &format!("sleep({number})")),
        _ => bail!("known are kill, panic, error and sleep"),
    };
    armed.map_err(anyhow::Error::msg)
}

fn kill_at(name: &'static str, number: u32, reached: Option<&Path>) -> anyhow::Result<()> {
    if reached.is_some_and(|file| stands_in(name, file)) {
        return Ok(());
    }
    let file = reached.map(Path::to_owned);
    let passed = AtomicU32::new(0);
    let die = move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 != number {
            return;
        }
        if let Some(file) = &file
            && let Err(error) = note(name, file)
        {
            eprintln!("{REACHED}: {error}");
        }
        // It does not come back: nothing after it in this process happens.
        if let Err(error) = kill(Pid::this(), Signal::SIGKILL) {
            eprintln!("{name}: this process cannot kill itself: {error}");
        }
    };
    fail::cfg_callback(name, die).map_err(anyhow::Error::msg)
}

fn stands_in(name: &str, file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == name))
}

fn note(name: &str, path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "{name}")?;
    file.sync_all()
}
