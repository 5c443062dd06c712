//! How long a decision on a stream of 10,000 events takes, the first time and then.
//!
//! The yardstick is the same decision on a stream of ten events, in turns with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use domain::{
    aggregate::Aggregate as _,
    authz::Principal,
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Metadata, NewEvent, StreamWrite},
    execute::{Ports, execute},
    id::{Ids as _, SystemIds},
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings, address};
use serde_json::{Value, json, value::RawValue};

use crate::{
    counter::{Count, Counter, KIND, payload},
    numbers::{median, milliseconds, percentile, rounded},
    scale::Scale,
};

/// Streams, by the number of events they begin with.
const STREAMS: [(&str, u64); 2] = [("hot", 10_000), ("short", 10)];
/// Decisions on each in a turn.
const DECISIONS: usize = 100;
/// Times that everything is forgotten, for the cold decision.
const COLD: usize = 5;

/// Measures on the migrated database at `url`.
pub(crate) async fn run(url: &str, scale: Scale) -> Result<Value> {
    let store = PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?;
    for (key, events) in STREAMS {
        seed(&*store, key, events).await?;
    }
    let ports = Ports::new(
        store.clone(),
        Arc::new(SystemClock),
        Arc::new(SystemIds),
        Arc::new(LogRights),
    );
    let mut cold = [Vec::new(), Vec::new()];
    let mut hot = [Vec::new(), Vec::new()];
    for _ in 0..COLD {
        for ((key, _), times) in STREAMS.into_iter().zip(&mut cold) {
            ports.aggregates.clear();
            times.push(decide(&ports, key).await?);
        }
    }
    for _ in 0..scale.rounds {
        for ((key, _), times) in STREAMS.into_iter().zip(&mut hot) {
            decide(&ports, key).await?;
            for _ in 0..DECISIONS {
                times.push(decide(&ports, key).await?);
            }
        }
    }
    store.close(Duration::from_secs(10)).await;
    let short = median(hot[1].clone());
    let rows: Vec<Value> = STREAMS
        .iter()
        .zip(cold.iter().zip(&hot))
        .map(|((_, events), (cold, hot))| {
            json!({
                "events": events,
                "cold_ms": rounded(median(cold.clone())),
                "hot_p50_ms": rounded(percentile(hot, 0.5)),
                "hot_p99_ms": rounded(percentile(hot, 0.99)),
                "ratio": rounded(percentile(hot, 0.5) / short),
            })
        })
        .collect();
    Ok(json!({ "unit": "ms of a decision, its append included", "rows": rows }))
}

async fn decide(ports: &Ports, key: &'static str) -> Result<f64> {
    let begun = Instant::now();
    execute(
        ports,
        &Principal::System("bench"),
        &Metadata::default(),
        &Count(key),
    )
    .await?;
    Ok(milliseconds(begun.elapsed()))
}

async fn seed(store: &dyn EventStore, key: &str, events: u64) -> Result<()> {
    let numbers: Vec<u64> = (0..events).collect();
    for some in numbers.chunks(1_000) {
        let event = |n: &u64| {
            Ok(NewEvent {
                id: SystemIds.next(),
                kind: KIND.to_owned(),
                schema_version: 1,
                data: RawValue::from_string(payload(*n))?,
            })
        };
        let write = StreamWrite {
            stream: Counter::stream(key),
            expected: Expected::Any,
            events: some.iter().map(event).collect::<Result<_>>()?,
        };
        let meta = Metadata::default();
        store
            .append(Append {
                writes: vec![write],
                meta,
            })
            .await?;
    }
    Ok(())
}
