//! What open connections cost while nothing happens on them (issue 13, FL11): resident memory of the server over what it
//! holds without them, and processor time, heartbeats included.
//!
//! The shipped binary serves, and this process holds the other ends, so that only the server's own part is counted. The
//! yardstick of processor time is the same system before, without connections.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tests::harness::{Client, Feed};
use tokio::task::JoinHandle;

use crate::{
    memory::resident,
    numbers::rounded,
    reporting::used,
    scale::Scale,
    start::{Running, administrator},
};

/// Connections.
const CONNECTIONS: usize = 1_000;
/// Opened at the same time.
const AT_ONCE: usize = 20;
/// How long processor time is looked at: two heartbeats of each feed.
const LOOK: Duration = Duration::from_secs(32);
/// How long memory is left to settle before it is read.
const SETTLE: Duration = Duration::from_secs(2);
/// Bytes of the corpus that the job, which never runs, is for.
const BYTES: usize = 40_000;
/// Connections on which nothing is asked are closed by the server before long.
const CLOSED_AFTER: Duration = Duration::from_secs(10);

const START: &str =
    "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";

/// What is open.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Socket,
    EventStream,
    KeptAlive,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Socket, Self::EventStream, Self::KeptAlive];

    fn name(self) -> &'static str {
        match self {
            Self::Socket => "feeds over WebSocket",
            Self::EventStream => "feeds over event streams",
            Self::KeptAlive => "kept-alive HTTP/1.1",
        }
    }

    /// Opens one connection; it is open as long as the task runs, which ends with how many items came.
    async fn open(self, client: &Client, job: &str) -> Result<JoinHandle<usize>> {
        Ok(match self {
            Self::Socket => {
                let mut feed = Feed::of_job(client, job, None).await;
                feed.until(|item| item["__typename"] == "JobSnapshot").await;
                tokio::spawn(async move {
                    let mut items = 0;
                    while let Some(Ok(_)) = feed.next().await {
                        items += 1;
                    }
                    items
                })
            }
            Self::EventStream => {
                let mut stream = event_stream(client, job).await?;
                tokio::spawn(async move {
                    let mut items = 0;
                    while let Ok(Some(piece)) = stream.chunk().await {
                        items += usize::from(piece.starts_with(b"event: next") || piece.starts_with(b"id"));
                    }
                    items
                })
            }
            Self::KeptAlive => {
                let alone = tests::harness::client::http().build()?;
                let health = format!("{}/healthz", client.url);
                let answer = alone.get(health).send().await?;
                ensure!(answer.status().is_success(), "health answers {}", answer.status());
                answer.bytes().await?;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(3_600)).await;
                    drop(alone);
                    0
                })
            }
        })
    }
}

/// A feed as an event stream, after its snapshot.
async fn event_stream(client: &Client, job: &str) -> Result<reqwest::Response> {
    let token = client.token.as_deref().context("the client is signed in")?;
    let alone = tests::harness::client::http().build()?;
    let body = json!({ "query": tests::harness::feed::JOB_FEED, "variables": { "id": job } });
    let request = alone
        .request(Method::POST, format!("{}/graphql", client.url))
        .header("accept", "text/event-stream")
        .bearer_auth(token)
        .json(&body);
    let mut stream = request.send().await?;
    let first = stream.chunk().await?.context("the stream ended")?;
    let first = String::from_utf8_lossy(&first).into_owned();
    ensure!(first.contains("JobSnapshot"), "no snapshot: {first}");
    Ok(stream)
}

/// Measures each kind on a system of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let mut rows = Vec::new();
    let (mut most_mib, mut most_percent) = (0.0_f64, 0.0_f64);
    for kind in Kind::ALL {
        let found = measure(kind, scale).await?;
        if kind != Kind::KeptAlive {
            most_mib = most_mib.max(found.mib);
            most_percent = most_percent.max(found.percent);
        }
        rows.push(found.row(kind));
    }
    Ok(json!({
        "unit": "MiB of the server over its memory without the connections; percent of a core",
        // Of 1,000 feeds, whichever way; 100 MB are 95.4 MiB.
        "feeds_mib": rounded(most_mib),
        "feeds_percent": rounded(most_percent),
        "rows": rows,
    }))
}

struct Found {
    before: f64,
    mib: f64,
    alone_percent: f64,
    percent: f64,
    items: usize,
}

impl Found {
    fn row(&self, kind: Kind) -> Value {
        json!({
            "what": kind.name(),
            "connections": CONNECTIONS,
            "before_mib": rounded(self.before),
            "mib": rounded(self.mib),
            "kib_each": rounded(self.mib * 1024.0 / CONNECTIONS as f64),
            "percent": rounded(self.percent),
            "against": "the system without connections",
            "alone_percent": rounded(self.alone_percent),
            "items": self.items,
        })
    }
}

async fn measure(kind: Kind, scale: Scale) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let running = Running::start(folder.path()).await?;
    let administrator = administrator(&running.url, &folder.path().join("data")).await?;
    let (process, job) = (running.id()?, waiting(&administrator).await?);
    // What the first connections leave behind is no part of what open ones hold.
    close(open(kind, &administrator, &job, AT_ONCE).await?).await?;
    tokio::time::sleep(SETTLE).await;
    let look = match kind {
        Kind::KeptAlive => CLOSED_AFTER / 2,
        _ if scale.judged => LOOK,
        _ => LOOK / 2,
    };
    let alone = used(process, look).await?;
    let before = resident(process)?;
    let open = open(kind, &administrator, &job, CONNECTIONS).await?;
    tokio::time::sleep(SETTLE).await;
    let busy = used(process, look).await?;
    let mib = resident(process)? - before;
    ensure!(
        open.iter().all(|one| !one.is_finished()),
        "a connection ended by itself"
    );
    running.stop().await?;
    let items: usize = match kind {
        Kind::KeptAlive => close(open).await?,
        _ => try_join_all(open).await?.into_iter().sum(),
    };
    ensure!(
        kind == Kind::KeptAlive || items >= CONNECTIONS,
        "{items} items came on {CONNECTIONS} feeds"
    );
    Ok(Found {
        before,
        mib,
        alone_percent: alone.server * 100.0,
        percent: busy.server * 100.0,
        items,
    })
}

/// Ends the other ends of connections.
async fn close(open: Vec<JoinHandle<usize>>) -> Result<usize> {
    for one in &open {
        one.abort();
    }
    join_all(open).await;
    Ok(0)
}

async fn open(kind: Kind, client: &Client, job: &str, count: usize) -> Result<Vec<JoinHandle<usize>>> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let next = (open.len()..count).take(AT_ONCE).map(|_| kind.open(client, job));
        open.extend(try_join_all(next).await?);
    }
    Ok(open)
}

/// A job that waits for ever: no worker has what it demands.
async fn waiting(client: &Client) -> Result<String> {
    let (dataset, experiment) = (client.dataset("Text").await, client.experiment().await);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt");
    let mut text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    text.truncate(BYTES);
    let uploaded = client.upload(&dataset, "corpus.txt", text).await;
    ensure!(uploaded.status == 201, "the upload was refused: {uploaded:?}");
    let order = json!({
        "name": "Watched", "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 10, "sequenceLength": 32, "warmupSteps": 2 },
        "requirements": { "labels": ["nowhere"] },
    });
    let started = client.run(START, json!({ "i": order })).await;
    let job = started.data("startJob")["job"]["id"].as_str();
    Ok(job.with_context(|| format!("{started:?}"))?.to_owned())
}
