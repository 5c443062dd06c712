//! The writer's connection, and the statements that one batch takes on it.
//!
//! The rule: between [`Session::lock`] and [`Session::commit`] this connection holds the head row, so no
//! process appends meanwhile; every statement has a deadline.

use std::{collections::HashMap, time::Duration};

use domain::event_store::{Appended, Position, StreamId};
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, postgres::PgConnectOptions};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    CHANNEL,
    connect::{Plans, become_app_role},
    decide::{Ends, Known, Last, Placed},
    failure::{WriteFailure, within},
};
use crate::integrity::{Digest, Tip};

/// The locked head: where the next event goes.
pub(super) type Head = Tip;

/// A connection of the writer.
pub(super) struct Session {
    connection: PgConnection,
    limit: Duration,
}

impl Session {
    /// Connects as the writer; each statement gets `limit`.
    pub(super) async fn open(options: &PgConnectOptions, limit: Duration) -> Result<Self, sqlx::Error> {
        let options = options.clone().application_name("anneal writer");
        let connection = within(limit, async {
            let mut connection = PgConnection::connect_with(&options).await?;
            become_app_role(&mut connection, "10s", Plans::ByIndex).await?;
            Ok(connection)
        })
        .await?;
        Ok(Self { connection, limit })
    }

    /// Begins a transaction and takes the head row.
    pub(super) async fn lock(&mut self) -> Result<Head, WriteFailure> {
        // One round trip for both.
        let locked = self.connection.fetch_one(sqlx::raw_sql(
            "begin; select pos, hash, (extract(epoch from at) * 1000000)::bigint as micros
                    from event_head for update",
        ));
        let row = within(self.limit, locked).await?;
        let position = unsigned(row.try_get("pos")?)?;
        Ok(Head {
            position,
            hash: hash(&row.try_get::<Vec<u8>, _>("hash")?)?,
            at: moment(row.try_get("micros")?)?,
        })
    }

    /// Learns where those `streams` end that `ends` lacks.
    pub(super) async fn learn<'a>(
        &mut self,
        ends: &mut Ends,
        streams: impl Iterator<Item = &'a StreamId>,
    ) -> Result<(), WriteFailure> {
        let mut missing: Vec<&str> = streams
            .filter(|stream| !ends.contains_key(stream))
            .map(StreamId::as_str)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let found = sqlx::query(
            "select asked.stream, (select max(e.revision) from event e where e.stream = asked.stream) as last
             from unnest($1::text[]) as asked(stream)",
        )
        .bind(&missing)
        .fetch_all(&mut self.connection);
        for row in within(self.limit, found).await? {
            let last = row.try_get::<Option<i64>, _>("last")?.map(unsigned).transpose()?;
            let last = last.map(|revision| Last { revision, id: None });
            ends.insert(StreamId::from_recorded(row.try_get("stream")?), last);
        }
        Ok(())
    }

    /// The events of the log that have one of these ids.
    pub(super) async fn look_up(&mut self, ids: &[Uuid]) -> Result<HashMap<Uuid, Known>, WriteFailure> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = sqlx::query(
            "select id, stream, revision, kind, schema_version, data_hash, pos, at from event where id = any($1)",
        )
        .bind(ids)
        .fetch_all(&mut self.connection);
        let mut known = HashMap::new();
        for row in within(self.limit, found).await? {
            let landed = Appended {
                position: Position(unsigned(row.try_get("pos")?)?),
                at: row.try_get("at")?,
            };
            let event = Known {
                stream: row.try_get("stream")?,
                revision: unsigned(row.try_get("revision")?)?,
                kind: row.try_get("kind")?,
                schema_version: u16::try_from(row.try_get::<i16, _>("schema_version")?).map_err(decode)?,
                data_hash: hash(row.try_get("data_hash")?)?,
                landed,
            };
            known.insert(row.try_get("id")?, event);
        }
        Ok(known)
    }

    /// Writes `placed` after `head`, moves the head row and tells the other processes. Returns the new head.
    pub(super) async fn write(
        &mut self,
        head: &Head,
        placed: &[Placed<'_>],
        at: OffsetDateTime,
    ) -> Result<Head, WriteFailure> {
        let mut link = head.hash;
        let mut columns = Columns::default();
        for event in placed {
            link = event.link(at).after(&link);
            columns.push(event, link)?;
        }
        let head = Head {
            position: head.position + placed.len() as u64,
            hash: link,
            at,
        };
        let written = sqlx::query(INSERT)
            .bind(signed(head.position)?)
            .bind(head.hash.as_slice())
            .bind(at)
            .bind(CHANNEL)
            .bind(columns.positions)
            .bind(columns.ids)
            .bind(columns.streams)
            .bind(columns.revisions)
            .bind(columns.kinds)
            .bind(columns.schema_versions)
            .bind(columns.data)
            .bind(columns.meta)
            .bind(columns.data_hashes)
            .bind(columns.hashes)
            .execute(&mut self.connection);
        within(self.limit, written).await?;
        Ok(head)
    }

    /// Makes it last. When this fails, whether it was recorded is unknown.
    pub(super) async fn commit(&mut self) -> Result<(), WriteFailure> {
        Ok(self.simple("commit").await?)
    }

    /// Undoes what is not committed.
    pub(super) async fn roll_back(&mut self) -> Result<(), WriteFailure> {
        Ok(self.simple("rollback").await?)
    }

    async fn simple(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        within(self.limit, self.connection.execute(sqlx::raw_sql(statement)))
            .await
            .map(|_| ())
    }
}

/// Head first: nothing is inserted when the head row is gone. One notification per batch: the server takes a
/// global lock for each transaction that notifies.
const INSERT: &str = "
    with moved as (
        update event_head set pos = $1, hash = $2, at = $3 returning pos
    ), written as (
        insert into event (pos, id, stream, revision, kind, schema_version, at, data, meta, data_hash, hash)
        select n.pos, n.id, n.stream, n.revision, n.kind, n.schema_version, $3, n.data::json, n.meta::json,
               n.data_hash, n.hash
        from unnest($5::bigint[], $6::uuid[], $7::text[], $8::bigint[], $9::text[], $10::smallint[],
                    $11::text[], $12::text[], $13::bytea[], $14::bytea[])
             as n(pos, id, stream, revision, kind, schema_version, data, meta, data_hash, hash)
    )
    select pg_notify($4, pos::text) from moved";

#[derive(Default)]
struct Columns<'a> {
    positions: Vec<i64>,
    ids: Vec<Uuid>,
    streams: Vec<&'a str>,
    revisions: Vec<i64>,
    kinds: Vec<&'a str>,
    schema_versions: Vec<i16>,
    data: Vec<&'a str>,
    meta: Vec<&'a str>,
    data_hashes: Vec<&'a [u8]>,
    hashes: Vec<Vec<u8>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, placed: &Placed<'a>, link: Digest) -> Result<(), sqlx::Error> {
        self.positions.push(signed(placed.position)?);
        self.ids.push(placed.event.id);
        self.streams.push(placed.stream.as_str());
        self.revisions.push(signed(placed.revision)?);
        self.kinds.push(&placed.event.kind);
        self.schema_versions
            .push(i16::try_from(placed.event.schema_version).map_err(decode)?);
        self.data.push(placed.event.data.get());
        self.meta.push(&placed.append.meta);
        self.data_hashes.push(&placed.event.data_hash);
        self.hashes.push(link.to_vec());
        Ok(())
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// A number that is never negative in the log.
pub(super) fn unsigned(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(decode)
}

fn signed(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(decode)
}

/// A hash as stored.
pub(super) fn hash(bytes: &[u8]) -> Result<Digest, sqlx::Error> {
    Digest::try_from(bytes).map_err(decode)
}

fn moment(micros: i64) -> Result<OffsetDateTime, sqlx::Error> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(decode)
}
