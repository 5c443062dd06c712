//! Events per second into a read model: the runner's catch-up against a transaction per event, in turns.
//!
//! Both fold the same log into the same table, with a checkpoint in the same transaction as the rows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use domain::{
    aggregate::decode,
    clock::SystemClock,
    event_store::{EventStore as _, Filter, Position, RecordedEvent},
};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use projections::read_model::{Projector, Table};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    counter::{CounterEvent, Counters},
    numbers::{median, rounded},
    scale::Scale,
    seed,
};

/// Rounds at most: the runner folds everything in each.
const ROUNDS: usize = 2;
/// How long a catch-up may take.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Connections of the runner.
const CONNECTIONS: u32 = 4;
/// Events that the naive side is given at a time.
const PAGE: usize = 1_000;

/// Measures on the long log.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let log = seed::log(scale).await?;
    let store =
        PostgresEventStore::start(address(&log.url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let pool = app_pool(&log.url, CONNECTIONS).await?;
    let (mut naive, mut runner) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(ROUNDS) {
        start_over(&pool).await?;
        naive.push(one_by_one(&store, &pool, scale.turn).await?);
        start_over(&pool).await?;
        runner.push(catch_up(&store, &pool, log).await?);
    }
    pool.close().await;
    store.close(Duration::from_secs(10)).await;
    let yardstick = median(naive.clone());
    let row = |what: &str, rates: &[f64]| {
        let ratios = rates.iter().zip(&naive).map(|(own, naive)| own / naive);
        json!({
            "what": what,
            "events_per_s": rounded(median(rates.to_vec())),
            "ratio": rounded(median(ratios.collect())),
        })
    };
    let rows = [
        row("transaction per event", &naive),
        row("runner, catching up", &runner),
    ];
    Ok(json!({
        "unit": "events/s",
        "events": log.events,
        "rows_of_the_read_model": log.streams,
        "against": rounded(yardstick),
        "rows": rows,
    }))
}

async fn start_over(pool: &PgPool) -> Result<()> {
    sqlx::query("truncate bench_counter").execute(pool).await?;
    sqlx::query("delete from projection_checkpoint")
        .execute(pool)
        .await?;
    Ok(())
}

/// The runner from the start of the log to its end.
async fn catch_up(store: &Arc<PostgresEventStore>, pool: &PgPool, log: &seed::Seeded) -> Result<f64> {
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let (progress, running) = projections::runner::start(
        store.clone(),
        pool.clone(),
        || vec![Box::new(Table::<Counters>::default()) as Box<dyn Projector>],
        stop.clone(),
    );
    progress.wait_for_position(Position(log.events), TIMEOUT).await?;
    let took = begun.elapsed();
    stop.cancel();
    running.await?;
    let counted: i64 = sqlx::query_scalar("select sum(count)::bigint from bench_counter")
        .fetch_one(pool)
        .await?;
    ensure!(
        counted.unsigned_abs() == log.events,
        "{counted} events were folded"
    );
    Ok(log.events as f64 / took.as_secs_f64())
}

/// A transaction for each event, for `time`.
async fn one_by_one(store: &Arc<PostgresEventStore>, pool: &PgPool, time: Duration) -> Result<f64> {
    sqlx::query("insert into projection_checkpoint (name, version, position) values ('bench.naive', 1, 0)")
        .execute(pool)
        .await?;
    let page = store.read_all(Position::START, &Filter::all(), PAGE).await?;
    let begun = Instant::now();
    let mut folded = 0;
    for event in page.events.iter().cycle() {
        if begun.elapsed() > time {
            break;
        }
        fold(pool, event).await?;
        folded += 1;
    }
    Ok(f64::from(folded) / begun.elapsed().as_secs_f64())
}

async fn fold(pool: &PgPool, event: &RecordedEvent) -> Result<()> {
    let CounterEvent::Counted { text, .. } = decode(event)?;
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "insert into bench_counter as t (id, count, last) values ($1, 1, $2)
         on conflict (id) do update set count = t.count + 1, last = excluded.last",
    )
    .bind(event.stream.key())
    .bind(text)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("update projection_checkpoint set position = $1 where name = 'bench.naive'")
        .bind(i64::try_from(event.position.0)?)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await.context("a fold")
}
