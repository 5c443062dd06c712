//! From stopping a training to its process being gone, its state saved (JB-3: cancelled within a second, paused within
//! two).
//!
//! The whole system runs as users run it, with a training of a real size. Beside it stands the mutation's own answer
//! in the same round.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::harness::Client;

use crate::{
    memory::{Process, descendants},
    numbers::{milliseconds, rounded},
    reporting::{train, trains},
    scale::Scale,
    start::{Running, administrator},
};

/// How long a training may take to be gone before it is not measured at all.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);

const CANCEL: &str =
    "mutation($id: ID!) { cancelJob(input: { jobId: $id, reason: \"figures\" }) { userErrors { message } } }";
const PAUSE: &str =
    "mutation($id: ID!) { pauseJob(input: { jobId: $id, reason: \"figures\" }) { userErrors { message } } }";

/// Measures on an application of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let running = Running::start(folder.path()).await?;
    let administrator = administrator(&running.url, &folder.path().join("data")).await?;
    let (mut rows, mut slowest) = (Vec::new(), [0.0_f64; 2]);
    for _ in 0..scale.rounds {
        for (place, (what, mutation)) in [("cancelJob", CANCEL), ("pauseJob", PAUSE)]
            .into_iter()
            .enumerate()
        {
            let job = train(&administrator).await?;
            let (gone, answered) = stopped(&administrator, running.id()?, mutation, &job).await?;
            slowest[place] = slowest[place].max(gone);
            rows.push(json!({
                "what": what,
                "gone_ms": rounded(gone),
                "against": "the mutation's own answer",
                "answered_ms": rounded(answered),
                "ratio": rounded(gone / answered),
            }));
            // A paused one would wait for its turn again.
            administrator.run(CANCEL, json!({ "id": job })).await;
        }
    }
    running.stop().await?;
    let [cancelled, paused] = slowest.map(rounded);
    Ok(json!({
        "unit": "ms from sending the mutation to the process being gone, the slowest of all rounds",
        "cancelled_ms": cancelled,
        "paused_ms": paused,
        "rows": rows,
    }))
}

/// Milliseconds until no process trains below `server`, and until the mutation was answered.
async fn stopped(client: &Client, server: u32, mutation: &str, job: &str) -> Result<(f64, f64)> {
    ensure!(training(server)? == 1, "one process trains");
    let sent = Instant::now();
    let answer = client.run(mutation, json!({ "id": job })).await;
    let answered = milliseconds(sent.elapsed());
    let name = if mutation == CANCEL {
        "cancelJob"
    } else {
        "pauseJob"
    };
    ensure!(answer.data(name)["userErrors"] == json!([]), "{answer:?}");
    while training(server)? > 0 {
        ensure!(sent.elapsed() < TIMEOUT, "the training goes on");
        tokio::time::sleep(LOOK).await;
    }
    Ok((milliseconds(sent.elapsed()), answered))
}

fn training(server: u32) -> Result<usize> {
    let below = descendants(server)?;
    Ok(below.iter().filter(|process: &&Process| trains(process)).count())
}
