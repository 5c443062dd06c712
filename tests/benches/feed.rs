//! From a mutation to those who watch: milliseconds until a cancelled job is seen as such on open sockets.
//!
//! The yardstick is the mutation's own answer in the same round: a change that is seen before or soon after the
//! one who made it hears of it is live.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tests::harness::{Client, Feed};
use tokio::runtime::Runtime;

use crate::{
    application,
    numbers::{milliseconds, percentile, rounded},
};

/// Subscribers, and rounds with so many.
const ROUNDS: [(usize, usize); 2] = [(1, 60), (50, 12)];
/// Bytes of the corpus that the jobs, which never run, are for.
const BYTES: usize = 40_000;
/// What happens to the job.
const SEEN: &str = "jobs.JobCancelled";

const START: &str =
    "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
const CANCEL: &str =
    "mutation($id: ID!) { cancelJob(input: { jobId: $id }) { job { state } userErrors { message } } }";

/// Measures on an application of its own, without workers.
pub(crate) async fn run(server: &Runtime) -> Result<Value> {
    let app = application(server).await?;
    let engineer = app.person("ada", "engineer_i").await;
    let order = order(&engineer).await?;
    round(&engineer, &order, 1).await?;
    let mut rows = Vec::new();
    for (subscribers, rounds) in ROUNDS {
        let (mut seen, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let round = round(&engineer, &order, subscribers).await?;
            seen.extend(round.seen);
            answered.push(round.answered);
        }
        let (half, answer) = (percentile(&seen, 0.5), percentile(&answered, 0.5));
        rows.push(json!({
            "subscribers": subscribers,
            "seen": seen.len(),
            "p50_ms": rounded(half),
            "p99_ms": rounded(percentile(&seen, 0.99)),
            "against": "the mutation's own answer",
            "answer_p50_ms": rounded(answer),
            "ratio": rounded(half / answer),
        }));
    }
    server.spawn(app.stop()).await?;
    Ok(json!({ "unit": "ms from sending the mutation to reading the event from the socket", "rows": rows }))
}

/// A job that can be ordered again and again.
async fn order(engineer: &Client) -> Result<Value> {
    let (dataset, experiment) = (engineer.dataset("Text").await, engineer.experiment().await);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt");
    let mut text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    text.truncate(BYTES);
    let uploaded = engineer.upload(&dataset, "corpus.txt", text).await;
    anyhow::ensure!(uploaded.status == 201, "the upload was refused: {uploaded:?}");
    Ok(json!({
        "name": "Watched", "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 10, "sequenceLength": 32, "warmupSteps": 2 },
    }))
}

/// Milliseconds after the mutation was sent.
struct Round {
    seen: Vec<f64>,
    answered: f64,
}

/// A job, `subscribers` that watch it, and its end.
async fn round(engineer: &Client, order: &Value, subscribers: usize) -> Result<Round> {
    let started = engineer.run(START, json!({ "i": order })).await;
    let job = started.data("startJob")["job"]["id"]
        .as_str()
        .with_context(|| format!("{started:?}"))?
        .to_owned();
    let mut watching = Vec::new();
    for _ in 0..subscribers {
        let mut feed = Feed::of_job(engineer, &job, None).await;
        feed.until(|item| item["__typename"] == "JobSnapshot").await;
        watching.push(tokio::spawn(async move {
            feed.until(|item| item["event"] == SEEN).await;
            Instant::now()
        }));
    }
    // The feeds open at once; give the last one the time to listen.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let sent = Instant::now();
    let cancelled = engineer.run(CANCEL, json!({ "id": job })).await;
    let answered = milliseconds(sent.elapsed());
    anyhow::ensure!(
        cancelled.data("cancelJob")["job"]["state"] == "CANCELLED",
        "not cancelled: {cancelled:?}"
    );
    let seen = try_join_all(watching).await?;
    Ok(Round {
        seen: seen
            .into_iter()
            .map(|at| milliseconds(at.duration_since(sent)))
            .collect(),
        answered,
    })
}
