//! Events per second when all read models are built anew from a mixed log; the yardstick is reading that log with
//! `COPY` and doing nothing with it, in turns.
//!
//! The rule: the rebuild is that of the product, from empty shadows to their swap, in a process of its own, so that
//! its memory is its own too.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use domain::{clock::SystemClock, event_store::Position};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use projections::rebuild::{Rebuild, RebuildOptions};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    child::Child,
    memory,
    mixed::Mixed,
    numbers::{median, rounded},
    reads,
    scale::Scale,
    seed,
};

/// Rounds at most: each folds everything.
const ROUNDS: usize = 2;
/// Connections of the child.
const CONNECTIONS: u32 = 4;
/// The lease of the right to rebuild.
const LEASE: Duration = Duration::from_secs(10);

/// Measures on a log of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let mut mixed = Mixed::new()?;
    let (url, events) = (seed::make(scale.events, |_| mixed.next()).await?, scale.events);
    let pool = app_pool(&url, 1).await?;
    let (mut copies, mut rebuilds) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(ROUNDS) {
        let begun = Instant::now();
        ensure!(reads::copy(&pool).await? == events, "COPY read something else");
        copies.push(begun.elapsed().as_secs_f64());
        let report = Child::start(&["rebuild", &url])?.report().await?;
        ensure!(report["events"] == events, "{report}");
        rebuilds.push(report);
    }
    let rows = rows(&pool).await?;
    pool.close().await;
    let middle = |field: &str| median(rebuilds.iter().filter_map(|one| one[field].as_f64()).collect());
    let ratios = rebuilds.iter().filter_map(|one| one["seconds"].as_f64());
    let ratios = copies.iter().zip(ratios).map(|(copy, rebuild)| copy / rebuild);
    let (copy, rebuild) = (median(copies.clone()), middle("seconds"));
    let row = json!({
        "events": events,
        "rows": rows,
        "seconds": rounded(rebuild),
        "events_per_s": rounded(events as f64 / rebuild),
        "copy_events_per_s": rounded(events as f64 / copy),
        "ratio": rounded(median(ratios.collect())),
        "before_mib": rounded(middle("before_mib")),
        "highest_mib": rounded(middle("highest_mib")),
    });
    Ok(json!({ "unit": "events/s", "against": "COPY, not decoded", "rows": [row] }))
}

/// Rows of all read models and their pasts.
async fn rows(pool: &PgPool) -> Result<i64> {
    let mut all = 0;
    for table in projections::all().iter().flat_map(|projector| projector.tables()) {
        let count = format!("select count(*) from {}", table.name);
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .fetch_one(pool)
            .await?;
        all += count;
    }
    Ok(all)
}

/// What the child does: rebuilds everything, and says what that took.
pub(crate) async fn child(url: &str) -> Result<Value> {
    let store = PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let pool = app_pool(url, CONNECTIONS).await?;
    let before = memory::resident(std::process::id())?;
    let begun = Instant::now();
    let rebuild = Rebuild::begin(store.clone(), pool.clone(), LEASE).await?;
    let rebuild = rebuild.context("somebody else rebuilds")?;
    let options = RebuildOptions {
        compare: false,
        swap: true,
        discard: false,
    };
    let projectors: Vec<_> = projections::all().into_iter().map(Arc::from).collect();
    let outcomes = rebuild.run(projectors, options, &|_| ()).await?;
    rebuild.end().await?;
    let took = begun.elapsed();
    let folded = outcomes.iter().map(|outcome| outcome.position).min();
    for outcome in &outcomes {
        ensure!(outcome.swapped && outcome.failure.is_none(), "{outcome:?}");
    }
    pool.close().await;
    store.close(Duration::from_secs(10)).await;
    Ok(json!({
        "events": folded.unwrap_or(Position::START).0,
        "seconds": took.as_secs_f64(),
        "before_mib": before,
        "highest_mib": memory::highest(std::process::id())?,
    }))
}
