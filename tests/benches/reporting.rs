//! What telling about a training costs beside the training (JB-5: at most 1 %, which `goals` holds it to).
//!
//! The whole system runs as users run it, with a training of a real size and people who watch it. Processor time of the server and of its
//! PostgreSQL, less what they use when nobody trains, stands beside that of the training process in the same seconds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::harness::{Client, Feed};

use crate::{
    memory::{Process, descendants},
    numbers::{median, rounded},
    scale::Scale,
    start::{Running, administrator},
};

/// How long is looked.
const LOOK: Duration = Duration::from_secs(15);
/// How long the training may take to be under way.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How many watch the training.
const VIEWERS: usize = 2;
/// The verb of the process that trains.
const TRAINS: &str = "train-job";

const START: &str =
    "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
const STANDS: &str = "query($id: ID!) { job(id: $id) { step } }";

/// Measures on an application of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let running = Running::start(folder.path()).await?;
    let administrator = administrator(&running.url, &folder.path().join("data")).await?;
    let process = running.id()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = used(process, LOOK).await?;
    let job = train(&administrator).await?;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        let feed = Feed::of_job(&administrator, &job, None).await;
        viewers.push(tokio::spawn(points(feed)));
    }
    let mut shares = Vec::new();
    let mut rows = Vec::new();
    for _ in 0..scale.rounds {
        let before = step(&administrator, &job).await?;
        let busy = used(process, LOOK).await?;
        let steps = step(&administrator, &job).await? - before;
        let reporting = (busy.server - idle.server).max(0.0) + (busy.postgres - idle.postgres).max(0.0);
        let share = reporting / busy.training;
        shares.push(share);
        rows.push(json!({
            "percent": rounded(share * 100.0),
            "server": rounded(busy.server - idle.server),
            "postgres": rounded(busy.postgres - idle.postgres),
            "training": rounded(busy.training),
            "steps_per_second": rounded(steps as f64 / LOOK.as_secs_f64()),
        }));
    }
    running.stop().await?;
    let mut shown = Vec::new();
    for viewer in viewers {
        shown.push(viewer.await?);
    }
    ensure!(
        shown.iter().all(|points| *points > 0),
        "a viewer saw nothing of the training: {shown:?}"
    );
    Ok(json!({
        "unit": "seconds of processor time in a second, those of the idle system taken off; percent of the training's",
        "percent": rounded(median(shares) * 100.0),
        "points_shown": shown,
        "rows": rows,
    }))
}

/// How many steps a viewer is shown until the feed ends.
async fn points(mut feed: Feed) -> usize {
    let mut points = 0;
    while let Some(Ok(item)) = feed.next().await {
        points += item["points"].as_array().map_or(0, Vec::len);
    }
    points
}

/// Seconds of processor time in a second.
pub(crate) struct Used {
    pub(crate) server: f64,
    postgres: f64,
    training: f64,
}

/// What the system below and with `server` uses while `time` goes by.
pub(crate) async fn used(server: u32, time: Duration) -> Result<Used> {
    let (began, before) = (Instant::now(), now(server)?);
    tokio::time::sleep(time).await;
    let (after, seconds) = (now(server)?, began.elapsed().as_secs_f64());
    Ok(Used {
        server: (after.server - before.server) / seconds,
        postgres: (after.postgres - before.postgres) / seconds,
        training: (after.training - before.training) / seconds,
    })
}

fn now(server: u32) -> Result<Used> {
    let mut used = Used {
        server: seconds(server)?,
        postgres: 0.0,
        training: 0.0,
    };
    for process in descendants(server)? {
        // One that has ended meanwhile is PostgreSQL's for a connection; it idled.
        let Ok(seconds) = seconds(process.id) else {
            continue;
        };
        if process.name == "postgres" {
            used.postgres += seconds;
        } else if trains(&process) {
            used.training += seconds;
        }
    }
    Ok(used)
}

/// Whether `process` is one that trains.
pub(crate) fn trains(process: &Process) -> bool {
    std::fs::read(process.folder().join("cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0)
            .any(|word| word == TRAINS.as_bytes())
    })
}

/// Processor time of `process`, all of its threads, in seconds to a hundredth.
fn seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold spaces; user and system time are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').context("stat has no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |nth: usize| -> Result<f64> { Ok(fields.get(nth).context("stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Starts a training that does not end while we look; returns when it is under way.
pub(crate) async fn train(client: &Client) -> Result<String> {
    let (dataset, experiment) = (client.dataset("Text").await, client.experiment().await);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt");
    let text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let uploaded = client.upload(&dataset, "corpus.txt", text).await;
    ensure!(uploaded.status == 201, "the upload was refused: {uploaded:?}");
    let order = json!({
        "name": "Long", "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 6, "heads": 6, "width": 384, "context": 128, "vocabulary": 2000 } },
        "parameters": { "steps": 20_000, "sequenceLength": 128, "batchSize": 8, "warmupSteps": 2 },
    });
    let started = client.run(START, json!({ "i": order })).await;
    let job = started.data("startJob")["job"]["id"]
        .as_str()
        .with_context(|| format!("{started:?}"))?
        .to_owned();
    let began = Instant::now();
    while step(client, &job).await? < 3 {
        ensure!(began.elapsed() < TIMEOUT, "the training does not begin");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(job)
}

async fn step(client: &Client, job: &str) -> Result<u64> {
    let answer = client.run(STANDS, json!({ "id": job })).await;
    answer.data("job")["step"]
        .as_u64()
        .with_context(|| format!("{answer:?}"))
}
