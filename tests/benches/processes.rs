//! Appends per second by several processes on one log: 256 callers in all, in children of this program.
//!
//! Each child is a process of the product as far as the log goes: a store of its own, one writer. The yardstick is
//! one transaction per append by as many processes and callers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::{
    appends::{Appender, CONNECTIONS, GROUP, SINGLE},
    child::{Child, turns},
    cpu::Cpu,
    load::Load,
    numbers::{median, percentile, rounded},
    scale::Scale,
};

/// Processes that append at the same time.
const PROCESSES: [usize; 3] = [1, 2, 4];
/// Callers of all processes together.
const CALLERS: usize = 256;
const WARM_UP: Duration = Duration::from_millis(300);

/// Measures on the migrated database at `url`.
pub(crate) async fn run(url: &str, scale: Scale) -> Result<Value> {
    let mut rows = Vec::new();
    for processes in PROCESSES {
        let (mut group, mut single) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            single.push(round(SINGLE, url, processes, scale).await?);
            group.push(round(GROUP, url, processes, scale).await?);
        }
        let ratios = group
            .iter()
            .zip(&single)
            .map(|(group, single)| group.rate / single.rate);
        rows.push(json!({
            "processes": processes,
            "callers": CALLERS,
            "ratio": rounded(median(ratios.collect())),
            GROUP: figures(&group),
            SINGLE: figures(&single),
        }));
    }
    Ok(json!({
        "unit": "appends/s of one event; latency in ms; processor time in microseconds per append",
        "rows": rows,
    }))
}

/// What all processes did in one turn.
struct Turn {
    rate: f64,
    slowest_p99_ms: f64,
    cpu_us: f64,
}

async fn round(side: &str, url: &str, processes: usize, scale: Scale) -> Result<Turn> {
    let (callers, millis) = (
        (CALLERS / processes).to_string(),
        scale.turn.as_millis().to_string(),
    );
    let mut children = Vec::new();
    for _ in 0..processes {
        children.push(Child::start(&["appends", side, url, &callers, &millis])?);
    }
    try_join_all(children.iter_mut().map(Child::ready)).await?;
    let before = Cpu::now()?;
    try_join_all(children.iter_mut().map(Child::go)).await?;
    let turns = try_join_all(children.iter_mut().map(Child::turn)).await?;
    let after = Cpu::now()?;
    try_join_all(children.into_iter().map(Child::end)).await?;
    let number = |turn: &Value, name: &str| turn[name].as_f64().with_context(|| format!("a child's {name}"));
    let all = |name: &str| {
        turns
            .iter()
            .map(|turn| number(turn, name))
            .collect::<Result<Vec<f64>>>()
    };
    let appends: f64 = all("appends")?.iter().sum();
    let [own, _, postgres] = after.per_request(&before, appends as usize);
    Ok(Turn {
        rate: all("rate")?.iter().sum(),
        slowest_p99_ms: all("p99_ms")?.into_iter().fold(0.0, f64::max),
        cpu_us: own + postgres + all("cpu_us")?.iter().sum::<f64>() / appends,
    })
}

fn figures(turns: &[Turn]) -> Value {
    let middle = |of: fn(&Turn) -> f64| rounded(median(turns.iter().map(of).collect()));
    json!({
        "appends_per_s": middle(|turn| turn.rate),
        "p99_ms": middle(|turn| turn.slowest_p99_ms),
        "cpu_us": middle(|turn| turn.cpu_us),
    })
}

/// What a child does: `callers` of its own for `time`, each time it is asked.
pub(crate) async fn child(side: &str, url: &str, callers: usize, time: Duration) -> Result<()> {
    let share = u32::try_from(callers * CONNECTIONS as usize / CALLERS)?.max(1);
    let appender = Appender::open(side, url, share).await?;
    appender.turn(callers, WARM_UP).await?;
    turns(async || {
        let before = Cpu::now()?;
        let run = appender.turn(callers, time).await?;
        let appends = run.latencies.len();
        let [client, server, _] = Cpu::now()?.per_request(&before, 1);
        let load = Load::from(run);
        Ok(json!({
            "appends": appends,
            "rate": load.rate(),
            "p99_ms": percentile(&load.latencies, 0.99),
            "cpu_us": client + server,
        }))
    })
    .await?;
    appender.close().await
}
