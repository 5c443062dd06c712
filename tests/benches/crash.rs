//! `anneal up` after a crash (E5): until it is ready again, when it was killed in the middle of writing.
//!
//! One rule: every second time the main process of its PostgreSQL is killed with it, so that the database recovers too.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    load::{Question, clients, drive},
    start::{Running, Starts, administrator, postgres},
};

/// How often it crashes.
const CRASHES: usize = 10;
/// How long it writes before.
const WRITES: Duration = Duration::from_millis(1_500);
/// Who writes.
const CONNECTIONS: usize = 16;

/// Crashes it again and again.
pub(crate) async fn run() -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut starts = Starts::default();
    let mut running = Running::start(folder.path()).await?;
    let administrator = administrator(&running.url, &data).await?;
    for crash in 0..CRASHES {
        let client = administrator.at(&running.url);
        let create =
            "mutation { createProject(input: { name: \"Load\" }) { position userErrors { message } } }";
        let question = Arc::new(Question::graphql("creation", &client, create, "\"position\":\"")?);
        let clients = clients(CONNECTIONS)?;
        // It ends with the server; that answers are lost is what is meant.
        let writing = tokio::spawn(async move { drive(&clients, 2 * WRITES, &question).await.is_ok() });
        tokio::time::sleep(WRITES).await;
        let database = postmaster(&data)?;
        running.killed().await?;
        if crash % 2 == 1 {
            kill(database, Signal::SIGKILL).context("its PostgreSQL is gone already")?;
        }
        writing.abort();
        running = starts.measure(folder.path()).await?;
    }
    running.stop().await?;
    starts.postgres.push(postgres(&data).await?);
    Ok(starts.row("killed while 16 write"))
}

fn postmaster(data: &Path) -> Result<Pid> {
    let file = data.join("postgres/cluster/postmaster.pid");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let first = text.lines().next().context("an empty postmaster.pid")?;
    Ok(Pid::from_raw(first.trim().parse()?))
}
