//! Appends per second: group commit against one transaction per append, and against cqrs-es, in turns.
//!
//! The rule: the first two do the same work on one log — check the stream, give position, revision and time, chain
//! the hash, be flushed to disk before the answer — and the log verifies afterwards. cqrs-es does less (no order
//! over the log, no chain), on tables of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use domain::{
    clock::SystemClock,
    event_store::{Append, EventStore as _, Expected, Metadata, NewEvent, StreamId, StreamWrite},
    id::{Ids as _, SystemIds},
};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use futures::future::try_join_all;
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::{
    counter::{KIND, payload},
    cpu::Cpu,
    cqrs,
    load::Load,
    numbers::{median, milliseconds, percentile, rounded},
    scale::Scale,
    single,
};

/// Callers that append at the same time, each waiting for its answer.
const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// Before anything counts: connections are made, pages are read.
const WARM_UP: Duration = Duration::from_millis(500);
/// Connections of a side that takes one for each append; more only queue.
pub(crate) const CONNECTIONS: u32 = 32;
/// The yardstick.
pub(crate) const SINGLE: &str = "transaction_per_append";
/// What is measured.
pub(crate) const GROUP: &str = "group_commit";

/// Measures on the migrated database at `url` and returns a table of figures. `others`: further sides of a round.
pub(crate) async fn run(url: &str, scale: Scale, others: &[&'static str]) -> Result<Value> {
    let mut sides = Vec::new();
    for side in [SINGLE, GROUP].iter().chain(others) {
        let appender = Appender::open(side, url, CONNECTIONS).await?;
        // A process with another head in its cache pays a little more: each side runs warm and alone.
        appender.turn(16, WARM_UP).await?;
        sides.push((*side, appender));
    }
    let mut rows = Vec::new();
    for callers in CALLERS {
        rows.push(compare(&sides, callers, scale).await?);
    }
    let mut verified = 0;
    for (_, appender) in sides {
        if let Appender::Group(store) = &appender {
            verified = store.verify().await.context("the log verifies")?.position;
        }
        appender.close().await?;
    }
    Ok(json!({
        "unit": "appends/s of one event; latency in ms; processor time in microseconds per append",
        "rows": rows,
        "verified_events": verified,
    }))
}

async fn compare(sides: &[(&'static str, Appender)], callers: usize, scale: Scale) -> Result<Value> {
    let mut series: Vec<Side> = sides.iter().map(|_| Side::default()).collect();
    for _ in 0..scale.rounds {
        for ((_, appender), side) in sides.iter().zip(&mut series) {
            let before = Cpu::now()?;
            let run = appender.turn(callers, scale.turn).await?;
            let used = Cpu::now()?.per_request(&before, run.latencies.len());
            let elsewhere = run.elsewhere.as_secs_f64() * 1e6 / run.latencies.len().max(1) as f64;
            side.add(run, used.iter().sum::<f64>() + elsewhere);
        }
    }
    let of = |name: &str| {
        sides
            .iter()
            .position(|(side, _)| *side == name)
            .map(|index| &series[index])
    };
    let mut row = json!({ "callers": callers });
    for ((name, _), side) in sides.iter().zip(&series) {
        row[*name] = side.figures();
        if let Some(group) = of(GROUP).filter(|_| *name != GROUP) {
            row[*name]["ratio"] = json!(rounded(group.ratio(side)));
        }
    }
    Ok(row)
}

/// One way to append, ready to.
pub(crate) enum Appender {
    /// The store.
    Group(Arc<PostgresEventStore>),
    /// One transaction each.
    Single(PgPool),
    /// Another event store.
    Cqrs(cqrs::Log),
}

impl Appender {
    /// Connects `side` to the migrated database at `url`.
    pub(crate) async fn open(side: &str, url: &str, connections: u32) -> Result<Self> {
        Ok(match side {
            GROUP => Self::Group(
                PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?,
            ),
            SINGLE => Self::Single(app_pool(url, connections).await?),
            cqrs::NAME => Self::Cqrs(cqrs::Log::open(url, connections).await?),
            other => bail!("there is no way '{other}' to append"),
        })
    }

    /// Has `callers` callers append for `time`, an event of some two hundred bytes each time.
    pub(crate) async fn turn(&self, callers: usize, time: Duration) -> Result<Run> {
        match self {
            Self::Group(store) => grouped(store, callers, time).await,
            Self::Single(pool) => drive(callers, time, |stream, n| single::append(pool, stream, n)).await,
            Self::Cqrs(log) => log.turn(callers, time).await,
        }
    }

    /// Disconnects.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Group(store) => {
                store.close(Duration::from_secs(10)).await;
            }
            Self::Single(pool) => pool.close().await,
            Self::Cqrs(log) => log.close().await?,
        }
        Ok(())
    }
}

/// What one side did in a turn.
pub(crate) struct Run {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
    /// Processor time of a process that [`Cpu`] does not look at.
    pub(crate) elsewhere: Duration,
}

impl From<Run> for Load {
    fn from(run: Run) -> Self {
        Self {
            latencies: run.latencies.into_iter().map(milliseconds).collect(),
            took: run.took,
        }
    }
}

/// All turns of one side.
#[derive(Default)]
struct Side {
    rates: Vec<f64>,
    latencies: Vec<f64>,
    cpu: Vec<f64>,
}

impl Side {
    fn add(&mut self, run: Run, cpu: f64) {
        self.cpu.push(cpu);
        let load = Load::from(run);
        self.rates.push(load.rate());
        self.latencies.extend(load.latencies);
    }

    /// The median over the rounds of this rate divided by `other`'s in the same round.
    fn ratio(&self, other: &Self) -> f64 {
        let ratios = self
            .rates
            .iter()
            .zip(&other.rates)
            .map(|(own, other)| own / other);
        median(ratios.collect())
    }

    fn figures(&self) -> Value {
        json!({
            "appends_per_s": rounded(median(self.rates.clone())),
            "p50_ms": rounded(percentile(&self.latencies, 0.5)),
            "p99_ms": rounded(percentile(&self.latencies, 0.99)),
            "cpu_us": rounded(median(self.cpu.clone())),
        })
    }
}

/// Has `callers` callers append one after the other for `time`.
async fn drive<F: Future<Output = Result<()>>>(
    callers: usize,
    time: Duration,
    append: impl Fn(StreamId, u64) -> F,
) -> Result<Run> {
    let append = &append;
    let started = Instant::now();
    let callers = (0..callers).map(|_| async move {
        let stream = StreamId::new("bench.caller", &SystemIds.next().simple().to_string());
        let mut latencies = Vec::new();
        while started.elapsed() < time {
            let sent = Instant::now();
            append(stream.clone(), latencies.len() as u64).await?;
            latencies.push(sent.elapsed());
        }
        anyhow::Ok(latencies)
    });
    let latencies = try_join_all(callers).await?.concat();
    Ok(Run {
        latencies,
        took: started.elapsed(),
        elsewhere: Duration::ZERO,
    })
}

/// Has `callers` callers append to `store` for `time`, an event of some two hundred bytes each time.
pub(crate) async fn grouped(store: &PostgresEventStore, callers: usize, time: Duration) -> Result<Run> {
    drive(callers, time, |stream, n| async move {
        let event = NewEvent {
            id: SystemIds.next(),
            kind: KIND.to_owned(),
            schema_version: 1,
            data: RawValue::from_string(payload(n))?,
        };
        let writes = vec![StreamWrite {
            stream,
            expected: Expected::after(n.checked_sub(1)),
            events: vec![event],
        }];
        let meta = Metadata {
            actor: "user:bench".to_owned(),
            ..Metadata::default()
        };
        store.append(Append { writes, meta }).await?;
        Ok(())
    })
    .await
}
