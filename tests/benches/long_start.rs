//! `anneal up` over a long log: with a snapshot of the access directory, and with none that could be used.
//!
//! The rule: the log is copied into the embedded PostgreSQL of an installation that has started once, signed, and the read
//! models say that they have folded it, so that what is measured is the start and not the work that was left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anneal::postgres::{Cluster, Options};
use anyhow::{Context as _, Result};
use domain::clock::SystemClock;
use event_store::postgres::{IntegritySettings, LogIntegrity, SigningState, address, admin_pool};
use serde_json::{Value, json};

use crate::{
    cpu,
    memory::resident,
    mixed::Mixed,
    numbers::{median, rounded},
    scale::Scale,
    seed::{self, Line},
    start::{Running, postgres},
};

/// Starts from a snapshot.
const STARTS: usize = 3;
/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(1_800);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// The database of the embedded PostgreSQL.
const DATABASE: &str = "anneal";
/// When the session of the payload ends, and when those of this log do.
const ENDS: (&str, &str) = ("\"expires_at\":\"20", "\"expires_at\":\"21");

/// Measures on a log of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let first = Running::start(folder.path()).await?;
    read_models(&data).await?;
    first.stop().await?;
    let head = fill(&data, scale.events).await?;
    let (mut alone, mut without, mut with) = (Vec::new(), Starts::default(), Starts::default());
    alone.push(postgres(&data).await?);
    let running = without.measure(folder.path()).await?;
    let bytes = kept(&data, head).await?;
    running.stop().await?;
    for _ in 0..STARTS {
        alone.push(postgres(&data).await?);
        with.measure(folder.path()).await?.stop().await?;
    }
    let alone = median(alone);
    let rows = [
        without.row("no snapshot", alone),
        with.row("from a snapshot", alone),
    ];
    Ok(json!({
        "events": head,
        "snapshot_bytes": bytes,
        "ready_s": rounded(median(with.ready.clone())),
        "against": "the embedded PostgreSQL alone",
        "rows": rows,
    }))
}

#[derive(Default)]
struct Starts {
    ready: Vec<f64>,
    cpu: Vec<f64>,
    resident: Vec<f64>,
}

impl Starts {
    async fn measure(&mut self, folder: &Path) -> Result<Running> {
        let running = tokio::time::timeout(TIMEOUT, Running::start(folder)).await;
        let running = running.context("it does not get ready")??;
        self.ready.push(running.took.as_secs_f64());
        self.cpu.push(cpu::of_process(running.id()?)?);
        self.resident.push(resident(running.id()?)?);
        Ok(running)
    }

    fn row(&self, what: &str, alone: f64) -> Value {
        let ready = median(self.ready.clone());
        json!({
            "what": what,
            "starts": self.ready.len(),
            "ready_s": rounded(ready),
            "slowest_s": rounded(self.ready.iter().copied().fold(0.0, f64::max)),
            "cpu_s": rounded(median(self.cpu.clone())),
            "resident_mib": rounded(median(self.resident.clone())),
            "postgres_s": rounded(alone),
            "ratio": rounded(ready / alone),
        })
    }
}

/// What `statement` finds in the running installation, once it finds something.
async fn found(data: &Path, statement: &'static str, parameter: i64) -> Result<i64> {
    let url = Cluster::url_of_running(data, DATABASE)?.context("it runs")?;
    let pool = admin_pool(&url, 1).await?;
    let waiting = async {
        loop {
            let found = sqlx::query_scalar(statement).bind(parameter);
            match found.fetch_optional(&pool).await? {
                Some(found) => return Ok(found),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let found = tokio::time::timeout(TIMEOUT, waiting).await;
    pool.close().await;
    found.with_context(|| format!("{statement}: nothing"))?
}

/// Waits until every read model has its checkpoint.
async fn read_models(data: &Path) -> Result<()> {
    let statement = "select count(*) from projection_checkpoint having count(*) >= $1";
    let all = i64::try_from(projections::all().len())?;
    found(data, statement, all).await.map(|_| ())
}

/// Waits until a snapshot of the whole log is kept; returns its size in bytes.
async fn kept(data: &Path, head: u64) -> Result<i64> {
    let statement =
        "select octet_length(content)::bigint from access_directory_snapshot where position >= $1";
    found(data, statement, i64::try_from(head)?).await
}

/// Puts `events` events behind what the first start recorded; returns where the log ends.
async fn fill(data: &Path, events: u64) -> Result<u64> {
    let folder = data.to_owned();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&folder, &Options::default())).await??;
    let url = cluster.url(DATABASE);
    let mut mixed = Mixed::new()?;
    let head = seed::extend(&url, events, |_| open(mixed.next())).await?;
    let pool = admin_pool(&url, 1).await?;
    let folded = sqlx::query("update projection_checkpoint set position = $1").bind(i64::try_from(head)?);
    folded.execute(&pool).await?;
    sqlx::query("checkpoint").execute(&pool).await?;
    pool.close().await;
    sign(&url, data.to_owned(), head).await?;
    tokio::task::spawn_blocking(move || cluster.stop()).await??;
    Ok(head)
}

/// The same event; a session lasts.
fn open(line: Line) -> Line {
    let data = match line.kind {
        "identity.SessionOpened" => line.data.replace(ENDS.0, ENDS.1),
        _ => line.data,
    };
    Line { data, ..line }
}

/// Signs the whole log, as the running system would have.
async fn sign(url: &str, data: PathBuf, head: u64) -> Result<()> {
    let settings = IntegritySettings {
        origin: None,
        key_file: data.join("keys").join("log.key"),
        folder: data.join("checkpoints"),
        interval: LOOK,
        sign: true,
    };
    let integrity = LogIntegrity::start(address(url)?, settings, Arc::new(SystemClock)).await?;
    let waiting = async {
        loop {
            match integrity.state() {
                SigningState::Signed(size) if size >= head => return Ok(()),
                SigningState::Alarm(why) => anyhow::bail!(why),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(TIMEOUT, waiting)
        .await
        .context("it is not signed")??;
    integrity.close(TIMEOUT).await;
    Ok(())
}
