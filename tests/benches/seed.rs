//! A long log to read from, made once per run.
//!
//! The rule: it is what the store itself would have written, hash chain included; the store verifies it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::{
    aggregate::Aggregate as _,
    clock::{Clock as _, SystemClock},
    event_store::StreamId,
    id::{Ids as _, SystemIds},
};
use event_store::{
    integrity::{Digest, Link, digest, micros},
    postgres::{PostgresEventStore, Settings, address, admin_pool},
};
use sqlx::{PgConnection, Row as _, postgres::PgPoolCopyExt as _};
use tests::harness::database;
use tokio::sync::OnceCell;

use crate::{
    counter::{Counter, KIND, TABLE, payload},
    scale::Scale,
};

/// Events per counter.
const EVENTS_PER_STREAM: u64 = 20;
const META: &str = r#"{"actor":"user:bench"}"#;
/// Bytes that are sent at a time.
const CHUNK: usize = 1 << 20;

static LOG: OnceCell<Seeded> = OnceCell::const_new();

/// A log and how long it is.
#[derive(Clone, Debug)]
pub(crate) struct Seeded {
    pub(crate) url: String,
    pub(crate) events: u64,
    pub(crate) streams: u64,
}

/// The log of this run; the first call makes it.
pub(crate) async fn log(scale: Scale) -> Result<&'static Seeded> {
    LOG.get_or_try_init(|| counters(scale.events)).await
}

async fn counters(events: u64) -> Result<Seeded> {
    let streams = (events / EVENTS_PER_STREAM).max(1);
    let line = |n| Line {
        stream: stream(n % streams),
        revision: n / streams,
        kind: KIND,
        data: payload(n / streams),
    };
    let url = make(events, line).await?;
    Ok(Seeded { url, events, streams })
}

/// What an event of a log is made of.
pub(crate) struct Line {
    pub(crate) stream: StreamId,
    pub(crate) revision: u64,
    pub(crate) kind: &'static str,
    /// The payload, in one line.
    pub(crate) data: String,
}

/// A new log of `events` events, the first of which is `line(0)`. Returns its address.
pub(crate) async fn make(events: u64, line: impl FnMut(u64) -> Line) -> Result<String> {
    let url = database().await.url;
    extend(&url, events, line).await?;
    verify(&url, events).await?;
    Ok(url)
}

/// Adds `events` events to the log at `url`, which nobody may write to meanwhile; returns where it ends then.
pub(crate) async fn extend(url: &str, events: u64, mut line: impl FnMut(u64) -> Line) -> Result<u64> {
    eprintln!("  a log of {events} events …");
    let pool = admin_pool(url, 1).await?;
    let head = sqlx::query("select pos, hash from event_head")
        .fetch_one(&pool)
        .await?;
    let mut link = Digest::try_from(head.try_get::<&[u8], _>("hash")?)?;
    let before = u64::try_from(head.try_get::<i64, _>("pos")?)?;
    let at = domain::clock::to_micros(SystemClock.now());
    let mut copy = pool
        .copy_in_raw(
            "copy event (pos, id, stream, revision, kind, schema_version, at, data, meta, data_hash, hash) from stdin",
        )
        .await?;
    let meta_hash = digest(META.as_bytes());
    let mut rows = String::with_capacity(CHUNK + 1_024);
    let shown = at.format(&time::format_description::well_known::Rfc3339)?;
    for n in 0..events {
        let (id, line) = (SystemIds.next(), line(n));
        let Line {
            stream,
            revision,
            kind,
            data,
        } = line;
        let data_hash = digest(data.as_bytes());
        link = Link {
            position: before + n + 1,
            id,
            stream: stream.as_str(),
            revision,
            kind,
            schema_version: 1,
            at,
            data_hash: &data_hash,
            meta_hash: &meta_hash,
        }
        .after(&link);
        let (data_hash, hash) = (hex::encode(data_hash), hex::encode(link));
        // Of what COPY wants escaped, JSON in one line holds backslashes at most.
        let data = data.replace('\\', r"\\");
        rows.push_str(&format!(
            "{}\t{id}\t{stream}\t{revision}\t{kind}\t1\t{shown}\t{data}\t{META}\t\\\\x{data_hash}\t\\\\x{hash}\n",
            before + n + 1
        ));
        if rows.len() >= CHUNK {
            copy.send(rows.as_bytes()).await?;
            rows.clear();
        }
    }
    copy.send(rows.as_bytes()).await?;
    ensure!(copy.finish().await? == events, "not every event was copied");
    let mut connection = pool.acquire().await?;
    settle(&mut connection, before + events, &link, at).await?;
    drop(connection);
    pool.close().await;
    Ok(before + events)
}

fn stream(number: u64) -> StreamId {
    Counter::stream(format_args!("{number:08}"))
}

/// Moves the head to the end of what was copied, and lets the server look at it.
async fn settle(
    connection: &mut PgConnection,
    events: u64,
    link: &Digest,
    at: time::OffsetDateTime,
) -> Result<()> {
    sqlx::query(
        "update event_head set pos = $1, hash = $2, at = to_timestamp(0) + $3 * interval '1 microsecond'",
    )
    .bind(i64::try_from(events)?)
    .bind(link.as_slice())
    .bind(micros(at))
    .execute(&mut *connection)
    .await?;
    sqlx::query("vacuum analyze event")
        .execute(&mut *connection)
        .await?;
    sqlx::query(TABLE).execute(connection).await?;
    Ok(())
}

async fn verify(url: &str, events: u64) -> Result<()> {
    let store = PostgresEventStore::start(address(url)?, Settings::default(), Arc::new(SystemClock)).await?;
    let tip = store.verify().await.context("the log verifies")?;
    store.close(Duration::from_secs(10)).await;
    ensure!(tip.position == events, "the log has {} events", tip.position);
    Ok(())
}
