//! Appends with `cqrs-es` on PostgreSQL, for comparison (`--cqrs-es`).
//!
//! The rule: the crate and its own sqlx are built outside of the workspace (`tests/yardsticks/cqrs-es`) and run as a
//! child, in turns with the other sides, on the same database and with the processor time of that child counted.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::Mutex;

use crate::{appends::Run, child::Child};

/// What it is called in the figures.
pub(crate) const NAME: &str = "cqrs_es";
/// The option that asks for it.
pub(crate) const FLAG: &str = "--cqrs-es";

/// The package.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("yardsticks/cqrs-es")
}

/// Builds it with optimisations. Nothing happens when it is up to date.
pub(crate) fn build() -> Result<()> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked"])
        .current_dir(package())
        .env("CARGO_TARGET_DIR", package().join("target"))
        // Of this benchmark, not of what is built: build scripts that look at it would run anew.
        .env_remove("CARGO_MANIFEST_DIR")
        .status()
        .context("cargo is needed to build the yardstick")?;
    ensure!(status.success(), "the yardstick cqrs-es does not build");
    Ok(())
}

/// Its event log, held by a child.
pub(crate) struct Log(Box<Mutex<Child>>);

impl Log {
    /// Starts it on the database at `url`.
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self> {
        let program = package().join("target/release/cqrs-es-yardstick");
        let mut child = Child::of(&program, &[url, &connections.to_string()])?;
        child.ready().await?;
        Ok(Self(Box::new(Mutex::new(child))))
    }

    /// Has `callers` callers append for `time`.
    pub(crate) async fn turn(&self, callers: usize, time: Duration) -> Result<Run> {
        let mut child = self.0.lock().await;
        child.ask(&format!("{callers} {}", time.as_millis())).await?;
        let said = child.turn().await?;
        let nanoseconds = |value: &serde_json::Value| value.as_u64().map(Duration::from_nanos);
        let latencies = said["latencies_ns"].as_array().context("latencies")?;
        Ok(Run {
            latencies: latencies
                .iter()
                .map(|one| nanoseconds(one).context("a latency"))
                .collect::<Result<_>>()?,
            took: nanoseconds(&said["took_ns"]).context("a time")?,
            elsewhere: nanoseconds(&said["cpu_ns"]).context("processor time")?,
        })
    }

    /// Ends it.
    pub(crate) async fn close(self) -> Result<()> {
        self.0.into_inner().end().await
    }
}
