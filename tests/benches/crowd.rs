//! A thousand connections that ask at the same time, each again as soon as it is answered (issue 13, FL11).
//!
//! The yardstick is the static route, asked in turns with the query by the same connections. The client runs on the same
//! cores as the server and is part of every figure, so that nobody is answered faster than connections divided by rate.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    load::{Question, clients, drive},
    numbers::{median, percentile, rounded},
    scale::Scale,
    start::{Running, administrator},
};

/// Connections.
const CONNECTIONS: usize = 1_000;
/// How long a turn takes: each connection is answered some dozens of times.
const TURN: Duration = Duration::from_secs(3);
/// Before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures on a system of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let running = Running::start(folder.path()).await?;
    let administrator = administrator(&running.url, &folder.path().join("data")).await?;
    let health = format!("{}/healthz", running.url);
    let questions = [
        Question::plain("static route", &health, "ok")?,
        Question::graphql("scalar query", &administrator, "{ version }", "\"version\"")?,
    ];
    let questions = questions.map(Arc::new);
    let clients = clients(CONNECTIONS)?;
    for question in &questions {
        drive(&clients, WARM_UP, question).await?;
    }
    let mut turns: [Vec<[f64; 4]>; 2] = Default::default();
    for _ in 0..scale.rounds {
        for (question, turns) in questions.iter().zip(&mut turns) {
            let load = drive(&clients, TURN, question).await?;
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| percentile(&load.latencies, share));
            turns.push([load.rate(), p50, p95, p99]);
        }
    }
    drop(clients);
    running.stop().await?;
    let [plain, scalar] = &turns;
    let ratios = plain
        .iter()
        .zip(scalar)
        .map(|(plain, scalar)| scalar[2] / plain[2]);
    let ratio = median(ratios.collect());
    Ok(json!({
        "unit": "ms from question to answer, client and server on the same cores",
        "p95_ms": rounded(middle(scalar, 2)),
        "times": rounded(ratio),
        "rows": [row("static route", plain, None), row("scalar query", scalar, Some(ratio))],
    }))
}

/// The middle of one number of the turns.
fn middle(turns: &[[f64; 4]], place: usize) -> f64 {
    median(turns.iter().map(|turn| turn[place]).collect())
}

fn row(what: &str, turns: &[[f64; 4]], ratio: Option<f64>) -> Value {
    let rate = middle(turns, 0);
    let mut row = json!({
        "what": what,
        "connections": CONNECTIONS,
        "per_s": rounded(rate),
        "connections_by_rate_ms": rounded(CONNECTIONS as f64 / rate * 1e3),
        "p50_ms": rounded(middle(turns, 1)),
        "p95_ms": rounded(middle(turns, 2)),
        "p99_ms": rounded(middle(turns, 3)),
    });
    if let Some(ratio) = ratio {
        row["against"] = json!("static route");
        row["ratio"] = json!(rounded(ratio));
    }
    row
}
