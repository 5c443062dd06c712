//! Reading the log.
//!
//! The rule: a page either continues where the last one ended, without a gap, or the log counts as damaged.
//! Positions are gapless and ascend in commit order, so "after this position" misses nothing.

use std::time::Duration;

use domain::event_store::{Filter, Page, Position, RecordedEvent, StoreError, StreamId};
use futures::TryStreamExt as _;
use serde_json::value::RawValue;
use sqlx::{PgPool, Row as _, postgres::PgRow};

use super::{
    failure::{unavailable, within},
    recent::Recent,
    session::{hash, unsigned},
};
use crate::integrity::Digest;

/// A page takes no further event once it has this many bytes of payload.
const PAGE_BYTES: usize = 16 << 20;

/// Readers of one process; clones share their connections.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) pool: PgPool,
    pub(super) limit: Duration,
    /// What this process appended last.
    pub(super) recent: Recent,
}

/// Each lateral part comes in the order of its index, and the parts one after another: nothing is sorted, and
/// the caller checks the order.
const LOAD: &str = "
    select a.asked, e.*
    from unnest($1::text[], $2::bigint[]) with ordinality as a(stream, revision, asked)
    cross join lateral (
        select pos, id, stream, revision, kind, schema_version, at, data::text as data, meta::text as meta
        from event where stream = a.stream and revision >= a.revision order by revision
    ) e";

impl Reader {
    pub(super) async fn head(&self) -> Result<Position, StoreError> {
        let head = sqlx::query_scalar::<_, i64>("select pos from event_head").fetch_one(&self.pool);
        let head = within(self.limit, head).await.and_then(unsigned);
        head.map(Position).map_err(|error| unavailable(&error))
    }

    /// The hash of the event at `position`, as the chain has it.
    pub(super) async fn chain_hash(&self, position: Position) -> Result<Option<Digest>, StoreError> {
        let Ok(position) = i64::try_from(position.0) else {
            return Ok(None);
        };
        let found = sqlx::query_scalar::<_, Vec<u8>>("select hash from event where pos = $1")
            .bind(position)
            .fetch_optional(&self.pool);
        let found = within(self.limit, found).await;
        let found = found.and_then(|found| found.as_deref().map(hash).transpose());
        found.map_err(|error| unavailable(&error))
    }

    /// The events of each of `streams` from the given revision on, in the order of `streams`: one statement,
    /// so one round trip and one snapshot.
    pub(super) async fn load(
        &self,
        streams: &[(StreamId, u64)],
    ) -> Result<Vec<Vec<RecordedEvent>>, StoreError> {
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = streams.iter().map(|(stream, _)| stream.as_str()).collect();
        // No stream reaches further than i64::MAX.
        let from = |(_, from): &(StreamId, u64)| i64::try_from(*from).unwrap_or(i64::MAX);
        let from: Vec<i64> = streams.iter().map(from).collect();
        let rows = sqlx::query(LOAD).bind(&names).bind(&from).fetch_all(&self.pool);
        let rows = within(self.limit, rows)
            .await
            .map_err(|error| unavailable(&error))?;
        let mut histories = vec![Vec::new(); streams.len()];
        for row in &rows {
            let asked: i64 = row.try_get("asked").map_err(|error| unavailable(&error))?;
            let history = usize::try_from(asked - 1)
                .ok()
                .and_then(|asked| histories.get_mut(asked));
            let history =
                history.ok_or_else(|| StoreError::Corrupt(format!("no stream {asked} was asked for")))?;
            history.push(recorded(row)?);
        }
        for ((stream, from), history) in streams.iter().zip(&histories) {
            let gap = history
                .iter()
                .zip(*from..)
                .find(|(event, revision)| event.revision != *revision);
            if let Some((_, revision)) = gap {
                return Err(StoreError::Corrupt(format!(
                    "stream {stream} has no revision {revision}"
                )));
            }
        }
        Ok(histories)
    }

    pub(super) async fn page(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let Ok(from) = i64::try_from(after.0) else {
            return Ok(Page {
                events: Vec::new(),
                next: after,
            });
        };
        let page = within(self.limit, self.read(from, from.saturating_add(limit), filter));
        let Stretch { rows, looked_to } = page.await.map_err(|error| unavailable(&error))?;
        let events: Vec<_> = rows.iter().map(recorded).collect::<Result<_, _>>()?;
        if !events.is_sorted_by(|one, next| one.position < next.position) {
            return Err(StoreError::Corrupt(format!(
                "events after {after} came out of order"
            )));
        }
        if *filter == Filter::default() {
            whole(after.0, looked_to, &events)?;
        }
        Ok(Page {
            events,
            next: Position(looked_to.max(after.0)),
        })
    }

    /// The rows in `from+1..=to` that pass, and how far that looked: one statement, so one snapshot. The
    /// head is one row, so the join keeps the order of the index and nothing is sorted; callers check it.
    async fn read(&self, from: i64, to: i64, filter: &Filter) -> Result<Stretch, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let mut bytes = 0;
        let mut rows = Vec::new();
        let mut looked_to = 0;
        let mut full = false;
        {
            let mut found = sqlx::query(
                "select h.pos as head, e.* from event_head h left join lateral (
                     select pos, id, stream, revision, kind, schema_version, at,
                            data::text as data, meta::text as meta
                     from event
                     where pos > $1 and pos <= $2
                       and (cardinality($3::text[]) = 0 or stream ^@ any($3))
                       and (cardinality($4::text[]) = 0 or kind ^@ any($4))
                     order by pos
                 ) e on true",
            )
            .bind(from)
            .bind(to)
            .bind(&filter.stream_prefixes)
            .bind(&filter.kind_prefixes)
            .fetch(&mut *connection);
            while let Some(row) = found.try_next().await? {
                looked_to = unsigned(row.try_get::<i64, _>("head")?.min(to))?;
                let Some(position) = row.try_get::<Option<i64>, _>("pos")? else {
                    continue;
                };
                bytes += row.try_get::<&str, _>("data")?.len();
                rows.push(row);
                if bytes >= PAGE_BYTES {
                    looked_to = unsigned(position)?;
                    full = true;
                    break;
                }
            }
        }
        if full {
            // Cheaper than to read, only to drop it, what is still under way on this connection.
            connection.close_on_drop();
        }
        Ok(Stretch { rows, looked_to })
    }
}

struct Stretch {
    rows: Vec<PgRow>,
    looked_to: u64,
}

/// Checks that `events` are all of `after+1..=to`.
fn whole(after: u64, to: u64, events: &[RecordedEvent]) -> Result<(), StoreError> {
    let gap = (after + 1..)
        .zip(events)
        .find(|(position, event)| *position != event.position.0);
    let missing = match gap {
        Some((position, _)) => Some(position),
        None => Some(after + events.len() as u64 + 1).filter(|position| *position <= to),
    };
    match missing {
        Some(position) => Err(StoreError::Corrupt(format!("position {position} is missing"))),
        None => Ok(()),
    }
}

fn recorded(row: &PgRow) -> Result<RecordedEvent, StoreError> {
    let fields = || -> Result<RecordedEvent, sqlx::Error> {
        let json = |error| sqlx::Error::Decode(Box::new(error));
        Ok(RecordedEvent {
            id: row.try_get("id")?,
            stream: StreamId::from_recorded(row.try_get("stream")?),
            revision: unsigned(row.try_get("revision")?)?,
            position: Position(unsigned(row.try_get("pos")?)?),
            kind: row.try_get("kind")?,
            schema_version: version(row)?,
            at: row.try_get("at")?,
            data: RawValue::from_string(row.try_get("data")?).map_err(json)?,
            meta: serde_json::from_str(row.try_get("meta")?).map_err(json)?,
        })
    };
    fields().map_err(|error| unavailable(&error))
}

fn version(row: &PgRow) -> Result<u16, sqlx::Error> {
    u16::try_from(row.try_get::<i16, _>("schema_version")?)
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
