//! Reading events for integrity: every field that is hashed, as it lies in the table.
//!
//! The rule: rows are handed on as they come, so that a page of large events is never whole in memory.

use futures::TryStreamExt as _;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    super::session::{hash, unsigned},
    rows,
};
use crate::integrity::ChainedEvent;

const SELECT: &str = "select pos, id, stream, revision, kind, schema_version, at, data::text as data,
                             meta::text as meta, data_hash, hash
                      from event where pos > $1 and pos <= $2 order by pos";
/// A batch takes no further event once it has so many, or so many bytes.
const BATCH_EVENTS: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;

/// Where batches of events go.
pub(crate) trait EventRows {
    /// Takes the next batch; an error ends the reading.
    fn take(&mut self, batch: Vec<ChainedEvent>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Reads the events after `after` up to `to` in batches. No deadline of its own.
pub(crate) async fn read(
    connection: &mut PgConnection,
    after: u64,
    to: u64,
    sink: &mut impl EventRows,
) -> Result<(), sqlx::Error> {
    let mut found = sqlx::query(SELECT)
        .bind(rows::signed(after)?)
        .bind(rows::signed(to)?)
        .fetch(connection);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.try_next().await? {
        let event = chained(&row)?;
        bytes += event.data.len() + event.meta.len();
        batch.push(event);
        if batch.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
            sink.take(std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    match batch.is_empty() {
        true => Ok(()),
        false => sink.take(batch).await,
    }
}

/// The few events after `after` up to `to`.
pub(super) async fn range(
    connection: &mut PgConnection,
    after: u64,
    to: u64,
) -> Result<Vec<ChainedEvent>, sqlx::Error> {
    let found = sqlx::query(SELECT)
        .bind(rows::signed(after)?)
        .bind(rows::signed(to)?)
        .fetch_all(connection)
        .await?;
    found.iter().map(chained).collect()
}

fn chained(row: &PgRow) -> Result<ChainedEvent, sqlx::Error> {
    Ok(ChainedEvent {
        position: unsigned(row.try_get("pos")?)?,
        id: row.try_get("id")?,
        stream: row.try_get("stream")?,
        revision: unsigned(row.try_get("revision")?)?,
        kind: row.try_get("kind")?,
        schema_version: u16::try_from(row.try_get::<i16, _>("schema_version")?)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        at: row.try_get("at")?,
        data: row.try_get("data")?,
        meta: row.try_get("meta")?,
        data_hash: hash(row.try_get("data_hash")?)?,
        hash: hash(row.try_get("hash")?)?,
    })
}
