//! Appends with `cqrs-es` on PostgreSQL, for comparison: a child of the benchmark `figures`, which speaks with it in
//! lines (`tests/benches/child.rs`).
//!
//! The rule: only what the crate itself does to record one event, on its own table: a transaction with one insert,
//! which a taken sequence number refuses. It keeps no order over the log and no hash chain.

use std::{
    convert::Infallible,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use cqrs_es::{
    Aggregate, DomainEvent,
    event_sink::EventSink,
    persist::{PersistedEventRepository as _, SerializedEvent},
};
use futures::future::try_join_all;
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Pool, Postgres, postgres::PgPoolOptions};

/// The kind of every event of the figures.
const KIND: &str = "bench.Counted";
/// Its table, from `db/init.sql` of the crate.
const TABLE: &str = "create table if not exists events (
    aggregate_type text not null,
    aggregate_id   text not null,
    sequence       bigint check (sequence >= 0) not null,
    event_type     text not null,
    event_version  text not null,
    payload        json not null,
    metadata       json not null,
    primary key (aggregate_type, aggregate_id, sequence))";

/// `cqrs-es-yardstick URL CONNECTIONS`. Says `ready`, then takes a turn for each line `CALLERS MILLISECONDS` of its
/// input and prints what came of it as one line of JSON; ends with its input.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, connections] = arguments.as_slice() else {
        bail!("usage: cqrs-es-yardstick URL CONNECTIONS");
    };
    let log = Log::open(url, connections.parse()?).await?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (callers, millis) = line.split_once(' ').context("CALLERS MILLISECONDS")?;
        let turn = turn(&log, callers.parse()?, Duration::from_millis(millis.parse()?)).await?;
        writeln!(out, "{turn}")?;
    }
    log.pool.close().await;
    Ok(())
}

/// Has `callers` callers append one after the other for `time`, each on a stream of its own.
async fn turn(log: &Log, callers: usize, time: Duration) -> Result<Value> {
    let (before, started) = (processor_time()?, Instant::now());
    let callers = (0..callers).map(|_| async move {
        let stream = uuid::Uuid::new_v4().simple().to_string();
        let mut latencies = Vec::new();
        while started.elapsed() < time {
            let sent = Instant::now();
            log.append(&stream, latencies.len()).await?;
            latencies.push(u64::try_from(sent.elapsed().as_nanos())?);
        }
        anyhow::Ok(latencies)
    });
    let latencies = try_join_all(callers).await?.concat();
    let took = u64::try_from(started.elapsed().as_nanos())?;
    let cpu = u64::try_from((processor_time()? - before).as_nanos())?;
    Ok(json!({ "latencies_ns": latencies, "took_ns": took, "cpu_ns": cpu }))
}

/// Time that the threads of this process were on the processor (`schedstat`: nanoseconds run, waited, turns).
fn processor_time() -> Result<Duration> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let run = text.split(' ').next().context("schedstat is empty")?;
        sum += run.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Its event log.
struct Log {
    pool: Pool<Postgres>,
    events: PostgresEventRepository,
}

impl Log {
    /// Connects, and makes the table.
    async fn open(url: &str, connections: u32) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect(url)
            .await?;
        sqlx::query(TABLE).execute(&pool).await?;
        let events = PostgresEventRepository::new(pool.clone());
        Ok(Self { pool, events })
    }

    /// Records the event with the number `n` of `stream`, counted from 0.
    async fn append(&self, stream: &str, n: usize) -> Result<()> {
        let event = SerializedEvent::new(
            stream.to_owned(),
            n + 1,
            Counter::TYPE.to_owned(),
            KIND.to_owned(),
            "1.0".to_owned(),
            payload(n),
            json!({ "actor": "user:bench" }),
        );
        self.events
            .persist::<Counter>(&[event], None)
            .await
            .context("cqrs-es")
    }
}

/// The payload of the other sides (`tests/benches/counter.rs`), some two hundred bytes.
fn payload(n: usize) -> Value {
    let text = format!("some two hundred bytes of payload, which is what most events have: {n:080}");
    json!({ "n": n, "text": text })
}

/// The crate wants to know an aggregate; nothing is asked of it.
#[derive(Default, Serialize, Deserialize)]
struct Counter;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted;

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        KIND.to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = ();
    type Event = Counted;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, _: Counted) {}
}
