//! The naive appender: a transaction of its own for each append.
//!
//! The rule: it does the same work as the store — check the stream, give position, revision and time, chain the
//! hash, be flushed to disk before the answer.

use anyhow::Result;
use domain::{
    clock::{Clock as _, SystemClock},
    event_store::StreamId,
    id::{Ids as _, SystemIds},
};
use event_store::integrity::{Digest, Link, digest};
use sqlx::{PgPool, Row as _};

use crate::counter::{KIND, payload};

const META: &str = r#"{"actor":"user:bench"}"#;

/// One append, one transaction: lock the head row, check, insert, move the head, commit.
pub(crate) async fn append(pool: &PgPool, stream: StreamId, n: u64) -> Result<()> {
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
        kind: KIND,
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
