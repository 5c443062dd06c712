//! Appends per second: group commit against one transaction per append, in turns on one log.
//!
//! The rule: both do the same work — check the stream, give position, revision and time, chain the hash, be
//! flushed to disk before the answer — and the log verifies afterwards.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use domain::{
    clock::{Clock as _, SystemClock},
    event_store::{Append, EventStore as _, Expected, Metadata, NewEvent, StreamId, StreamWrite},
    id::{Ids as _, SystemIds},
};
use event_store::{
    integrity::{Digest, Link, digest},
    postgres::{PostgresEventStore, Settings, address, app_pool},
};
use futures::future::try_join_all;
use serde_json::{Value, json, value::RawValue};
use sqlx::{PgPool, Row as _};

use crate::{
    load::Load,
    numbers::{median, milliseconds, percentile, rounded},
};

/// Callers that append at the same time, each waiting for its answer.
const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// Turns of each side.
const ROUNDS: usize = 3;
/// How long a turn takes.
const TURN: Duration = Duration::from_millis(1_300);
/// Before anything counts: connections are made, pages are read.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections of the one-transaction-per-append side; more only queue on the head row.
const CONNECTIONS: u32 = 32;
const META: &str = r#"{"actor":"user:bench"}"#;

/// Measures on the migrated database at `url` and returns a table of figures.
pub(crate) async fn run(url: &str) -> Result<Value> {
    let store = PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let pool = app_pool(url, CONNECTIONS).await?;
    // A process with another head in its cache pays a little more: each side runs warm and alone.
    grouped(&store, 16, WARM_UP).await?;
    single(&pool, 16, WARM_UP).await?;
    let mut rows = Vec::new();
    for callers in CALLERS {
        let (mut one_each, mut group) = (Side::default(), Side::default());
        for _ in 0..ROUNDS {
            one_each.add(single(&pool, callers, TURN).await?);
            group.add(grouped(&store, callers, TURN).await?);
        }
        let ratios = group
            .rates
            .iter()
            .zip(&one_each.rates)
            .map(|(group, one_each)| group / one_each);
        rows.push(json!({
            "callers": callers,
            "group_commit": group.figures(),
            "transaction_per_append": one_each.figures(),
            "ratio": rounded(median(ratios.collect())),
        }));
    }
    let verified = store.verify().await.context("the log verifies")?;
    store.close(Duration::from_secs(10)).await;
    pool.close().await;
    Ok(
        json!({ "unit": "appends/s of one event; latency in ms", "rows": rows, "verified_events": verified.position }),
    )
}

/// What one side did in a turn.
pub(crate) struct Run {
    latencies: Vec<Duration>,
    took: Duration,
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
}

impl Side {
    fn add(&mut self, run: Run) {
        let load = Load::from(run);
        self.rates.push(load.rate());
        self.latencies.extend(load.latencies);
    }

    fn figures(&self) -> Value {
        json!({
            "appends_per_s": rounded(median(self.rates.clone())),
            "p50_ms": rounded(percentile(&self.latencies, 0.5)),
            "p99_ms": rounded(percentile(&self.latencies, 0.99)),
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
    })
}

fn payload(n: u64) -> String {
    format!(
        r#"{{"n":{n},"text":"some two hundred bytes of payload, which is what most events have: {n:080}"}}"#
    )
}

/// Has `callers` callers append to `store` for `time`, an event of some two hundred bytes each time.
pub(crate) async fn grouped(store: &PostgresEventStore, callers: usize, time: Duration) -> Result<Run> {
    drive(callers, time, |stream, n| async move {
        let event = NewEvent {
            id: SystemIds.next(),
            kind: "bench.Counted".to_owned(),
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

async fn single(pool: &PgPool, callers: usize, time: Duration) -> Result<Run> {
    drive(callers, time, |stream, n| append_alone(pool, stream, n)).await
}

/// One append, one transaction: lock the head row, check, insert, move the head, commit.
async fn append_alone(pool: &PgPool, stream: StreamId, n: u64) -> Result<()> {
    let mut transaction = pool.begin().await?;
    let head = sqlx::query("select pos, hash, at from event_head for update")
        .fetch_one(&mut *transaction)
        .await?;
    let last: Option<i64> = sqlx::query_scalar("select max(revision) from event where stream = $1")
        .bind(stream.as_str())
        .fetch_one(&mut *transaction)
        .await?;
    anyhow::ensure!(
        last.map(i64::unsigned_abs) == n.checked_sub(1),
        "the stream stands elsewhere"
    );
    let position = head.try_get::<i64, _>("pos")? + 1;
    let at = SystemClock.now().max(head.try_get("at")?);
    let data = payload(n);
    let (id, data_hash) = (SystemIds.next(), digest(data.as_bytes()));
    let link = Link {
        position: position.unsigned_abs(),
        id,
        stream: stream.as_str(),
        revision: n,
        kind: "bench.Counted",
        schema_version: 1,
        at,
        data_hash: &data_hash,
        meta_hash: &digest(META.as_bytes()),
    };
    let hash = link.after(&Digest::try_from(head.try_get::<&[u8], _>("hash")?)?);
    sqlx::query(
        "insert into event (pos, id, stream, revision, kind, schema_version, at, data, meta, data_hash, hash)
         values ($1, $2, $3, $4, 'bench.Counted', 1, $5, $6::text::json, $7::text::json, $8, $9)",
    )
    .bind(position)
    .bind(id)
    .bind(stream.as_str())
    .bind(i64::try_from(n)?)
    .bind(at)
    .bind(data)
    .bind(META)
    .bind(data_hash.as_slice())
    .bind(hash.as_slice())
    .execute(&mut *transaction)
    .await?;
    sqlx::query("update event_head set pos = $1, hash = $2, at = $3")
        .bind(position)
        .bind(hash.as_slice())
        .bind(at)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}
