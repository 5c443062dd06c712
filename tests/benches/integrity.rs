//! What it costs to make the log provable, and how fast it is proved: chain, tree, signature, verifier.
//!
//! The yardstick of the verifier is fetching all rows without decoding them; that of the signer's cost are the same
//! appends without it, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use domain::{
    clock::{Clock as _, SystemClock},
    id::{Ids as _, SystemIds},
};
use event_store::{
    integrity::{Digest, Link, digest},
    postgres::{
        Evidence, IntegritySettings, LogIntegrity, PostgresEventStore, Settings, SigningState, address,
        app_pool,
    },
};
use serde_json::{Value, json};
use tests::harness::database;

use crate::{
    appends::{Appender, CONNECTIONS, GROUP},
    counter::{KIND, payload},
    load::Load,
    numbers::{median, rounded},
    reads,
    scale::Scale,
    seed,
};

/// Callers of the appends with and without a signer.
const CALLERS: usize = 64;
/// How long signing the whole log may take.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Links that are hashed for the cost of the chain.
const LINKS: u32 = 200_000;

/// Measures on the long log, and on one of its own.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let log = seed::log(scale).await?;
    let store =
        PostgresEventStore::start(address(&log.url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let pool = app_pool(&log.url, 1).await?;
    let fetched = rate(log.events, async || reads::fetch(&pool).await).await?;
    let chain = rate(log.events, async || Ok(store.verify().await?.position)).await?;
    let folder = tempfile::tempdir()?;
    let signed = rate(log.events, async || sign(&log.url, folder.path()).await).await?;
    let all = rate(log.events, async || {
        Ok(store.audit(&Evidence::default()).await?.signed)
    })
    .await?;
    pool.close().await;
    store.close(Duration::from_secs(10)).await;
    let row = |what: &str, rate: f64| json!({ "what": what, "events_per_s": rounded(rate), "ratio": rounded(rate / fetched) });
    let rows = [
        row("fetch, not decoded", fetched),
        row("verifier: chain", chain),
        row("signer: tree of the whole log", signed),
        row("verifier: chain, tree, checkpoint", all),
    ];
    let (without, with) = appends(scale).await?;
    let ratios = with.iter().zip(&without).map(|(with, without)| with / without);
    Ok(json!({
        "unit": "events/s; processor time in microseconds",
        "events": log.events,
        "rows": rows,
        "cost": { "rows": [{
            "callers": CALLERS,
            "chain_us_per_event": rounded(chain_us()?),
            "without_signer_per_s": rounded(median(without.clone())),
            "with_signer_per_s": rounded(median(with.clone())),
            "ratio": rounded(median(ratios.collect())),
        }] },
    }))
}

/// Events per second of `work`, which says how many it has seen.
async fn rate(events: u64, work: impl AsyncFnOnce() -> Result<u64>) -> Result<f64> {
    let begun = Instant::now();
    let seen = work().await?;
    ensure!(seen == events, "{seen} events of {events}");
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}

async fn signer(url: &str, folder: &std::path::Path) -> Result<Arc<LogIntegrity>> {
    let settings = IntegritySettings {
        origin: None,
        key_file: folder.join("log.key"),
        folder: folder.join("checkpoints"),
        interval: Duration::from_millis(500),
        sign: true,
    };
    Ok(LogIntegrity::start(address(url)?, settings, Arc::new(SystemClock)).await?)
}

/// Signs everything; how far that came.
async fn sign(url: &str, folder: &std::path::Path) -> Result<u64> {
    let integrity = signer(url, folder).await?;
    integrity.close(TIMEOUT).await;
    match integrity.state() {
        SigningState::Signed(position) => Ok(position),
        other => anyhow::bail!("the signer ended as {other:?}"),
    }
}

/// Appends per second without and with a signer beside them.
async fn appends(scale: Scale) -> Result<(Vec<f64>, Vec<f64>)> {
    let url = database().await.url;
    let folder = tempfile::tempdir()?;
    let appender = Appender::open(GROUP, &url, CONNECTIONS).await?;
    appender.turn(CALLERS, scale.turn).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        without.push(Load::from(appender.turn(CALLERS, scale.turn).await?).rate());
        let signing = signer(&url, folder.path()).await?;
        with.push(Load::from(appender.turn(CALLERS, scale.turn).await?).rate());
        signing.close(TIMEOUT).await;
    }
    appender.close().await?;
    Ok((without, with))
}

/// Microseconds that hashing an event into the chain takes: its payload, its metadata, its link.
fn chain_us() -> Result<f64> {
    let (id, at, data) = (SystemIds.next(), SystemClock.now(), payload(1));
    let mut link = Digest::default();
    let begun = Instant::now();
    for position in 1..=u64::from(LINKS) {
        link = Link {
            position,
            id,
            stream: "bench.counter-00000001",
            revision: position,
            kind: KIND,
            schema_version: 1,
            at,
            data_hash: &digest(data.as_bytes()),
            meta_hash: &digest(br#"{"actor":"user:bench"}"#),
        }
        .after(&link);
    }
    let took = begun.elapsed();
    ensure!(
        std::hint::black_box(link) != Digest::default(),
        "a hash is never zero"
    );
    Ok(took.as_secs_f64() * 1e6 / f64::from(LINKS))
}
