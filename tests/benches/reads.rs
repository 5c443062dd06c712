//! Events per second when the whole log is read: raw `COPY`, a plain fetch, pages of the store, a subscription.
//!
//! The yardstick is `COPY` into nothing: what the database can send at all. Memory is the high-water mark of a
//! child that does nothing but replay.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use domain::{
    clock::SystemClock,
    event_store::{EventStore as _, Filter, Position},
};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolCopyExt as _};

use crate::{
    child::Child,
    memory,
    numbers::{median, rounded},
    scale::Scale,
    seed,
};

const COLUMNS: &str = "pos, id, stream, revision, kind, schema_version, at, data, meta";
const COPY: &str = "COPY, not decoded";
const SUBSCRIPTION: &str = "subscription from the start";
/// The ways to read, the yardstick first.
const WAYS: [&str; 5] = [
    COPY,
    "fetch, not decoded",
    "pages of 1000",
    "pages of 5000",
    SUBSCRIPTION,
];
/// Rounds at most: each way reads everything.
const ROUNDS: usize = 2;

/// Measures on the long log.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let log = seed::log(scale).await?;
    let store =
        PostgresEventStore::start(address(&log.url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let pool = app_pool(&log.url, 1).await?;
    let mut rates = vec![Vec::new(); WAYS.len()];
    for round in 0..=scale.rounds.min(ROUNDS) {
        for (way, rates) in WAYS.iter().zip(&mut rates) {
            let begun = Instant::now();
            let read = read(way, &store, &pool).await?;
            ensure!(read == log.events, "{way}: {read} events of {}", log.events);
            if round > 0 {
                rates.push(log.events as f64 / begun.elapsed().as_secs_f64());
            }
        }
    }
    pool.close().await;
    store.close(Duration::from_secs(10)).await;
    let rows = WAYS.iter().zip(&rates).map(|(way, own)| {
        let ratios = own.iter().zip(&rates[0]).map(|(own, copy)| own / copy);
        json!({
            "what": way,
            "events_per_s": rounded(median(own.clone())),
            "ratio": rounded(median(ratios.collect())),
        })
    });
    let rows: Vec<Value> = rows.collect();
    let memory = Child::start(&["replay", &log.url])?.report().await?;
    Ok(
        json!({ "unit": "events/s", "events": log.events, "against": COPY, "rows": rows, "memory": { "rows": [memory] } }),
    )
}

async fn read(way: &str, store: &PostgresEventStore, pool: &PgPool) -> Result<u64> {
    match way {
        COPY => copy(pool).await,
        "fetch, not decoded" => fetch(pool).await,
        "pages of 1000" => pages(store, 1_000).await,
        "pages of 5000" => pages(store, 5_000).await,
        other => {
            ensure!(other == SUBSCRIPTION, "there is no way '{other}' to read");
            subscription(store).await
        }
    }
}

/// Reads all rows with `COPY` and drops them; how many there are.
pub(crate) async fn copy(pool: &PgPool) -> Result<u64> {
    let statement = format!("copy (select {COLUMNS} from event order by pos) to stdout (format binary)");
    let mut messages = pool.copy_out_raw(&statement).await?;
    let mut read = 0;
    // A row with each message; the last one is the trailer, two bytes that are no row.
    while let Some(bytes) = messages.try_next().await? {
        read += u64::from(bytes.len() > 2);
    }
    Ok(read)
}

/// Fetches all rows; how many there are.
pub(crate) async fn fetch(pool: &PgPool) -> Result<u64> {
    let mut rows = sqlx::query(
        "select pos, id, stream, revision, kind, schema_version, at, data, meta from event order by pos",
    )
    .fetch(pool);
    let mut read = 0;
    while rows.try_next().await?.is_some() {
        read += 1;
    }
    Ok(read)
}

async fn pages(store: &PostgresEventStore, size: usize) -> Result<u64> {
    let (mut read, mut after) = (0, Position::START);
    loop {
        let page = store.read_all(after, &Filter::all(), size).await?;
        if page.next == after {
            return Ok(read);
        }
        after = page.next;
        read += page.events.len() as u64;
    }
}

async fn subscription(store: &PostgresEventStore) -> Result<u64> {
    let head = store.head().await?;
    let mut subscription = store.subscribe(Position::START, Filter::all());
    let (mut read, mut at) = (0, Position::START);
    while at < head {
        let page = subscription.next().await?;
        at = page.next;
        read += page.events.len() as u64;
    }
    Ok(read)
}

/// What the child does: follows the log from its start to its end, and says what memory that took.
pub(crate) async fn replay(url: &str) -> Result<Value> {
    let store = PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let before = memory::resident(std::process::id())?;
    let begun = Instant::now();
    let read = subscription(&store).await?;
    let took = begun.elapsed();
    store.close(Duration::from_secs(10)).await;
    Ok(json!({
        "events": read,
        "events_per_s": rounded(read as f64 / took.as_secs_f64()),
        "before_mib": rounded(before),
        "highest_mib": rounded(memory::highest(std::process::id())?),
    }))
}
