//! Where snapshots lie: the table `access_directory_snapshot`.
//!
//! One rule: nothing here decides what is true. What is read is proven by its reader, and everything may be gone.

use std::{io::ErrorKind, time::Duration};

use domain::event_store::Position;
use sqlx::{PgPool, Row as _};

use super::{
    folded::Rights,
    snapshot::{Snapshot, SnapshotFault},
};
use crate::position::{position, stored};

/// Deadline of all that is asked at once.
const DEADLINE: Duration = Duration::from_secs(10);
/// Rows that are looked at: more than there are, unless somebody else writes them.
const ROWS: i64 = 8;
/// Snapshots of a version that are kept: the newest, and the one before in case it cannot be used.
const KEPT: i64 = 2;
/// Bytes of the largest content: some ten million accounts.
const LARGEST: i64 = 512 << 20;

/// A snapshot without its content.
pub(super) struct Entry {
    pub(super) number: i64,
    pub(super) position: Position,
    version: i32,
    bytes: i64,
}

impl Entry {
    /// That its content is worth fetching.
    pub(super) fn check(&self) -> Result<(), SnapshotFault> {
        match (self.version, self.bytes) {
            (found, _) if found != Rights::VERSION => Err(SnapshotFault::Version { found }),
            (_, bytes) if bytes > LARGEST => Err(SnapshotFault::TooLarge(bytes)),
            _ => Ok(()),
        }
    }
}

/// The table.
#[derive(Clone)]
pub(super) struct Table(pub(super) PgPool);

/// `work` within the deadline.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = || {
        sqlx::Error::Io(std::io::Error::new(
            ErrorKind::TimedOut,
            "PostgreSQL did not answer in time",
        ))
    };
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| Err(late()))
}

impl Table {
    /// What is there: of this version first, and of each the one that was written last.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>, sqlx::Error> {
        let found = sqlx::query(
            "select number, version, position, octet_length(content)::bigint as bytes from access_directory_snapshot
             order by version = $1 desc, number desc limit $2",
        )
        .bind(Rights::VERSION)
        .bind(ROWS)
        .fetch_all(&self.0);
        let entry = |row: &sqlx::postgres::PgRow| {
            Ok(Entry {
                number: row.try_get("number")?,
                position: position(row.try_get("position")?),
                version: row.try_get("version")?,
                bytes: row.try_get("bytes")?,
            })
        };
        within(found).await?.iter().map(entry).collect()
    }

    /// The whole of one; `None` when it is gone by now.
    pub(super) async fn fetch(&self, entry: &Entry) -> Result<Option<Snapshot>, sqlx::Error> {
        let found = sqlx::query(
            "select version, position, chain, code, content from access_directory_snapshot where number = $1",
        )
        .bind(entry.number)
        .fetch_optional(&self.0);
        let snapshot = |row: sqlx::postgres::PgRow| {
            let chain = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("chain")?);
            Ok(Snapshot {
                version: row.try_get("version")?,
                position: position(row.try_get("position")?),
                chain: chain.map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
                code: row.try_get("code")?,
                content: row.try_get("content")?,
            })
        };
        within(found).await?.map(snapshot).transpose()
    }

    /// Adds `snapshot`, and removes those that it takes the place of. What a newer build wrote is left alone.
    pub(super) async fn add(&self, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
        let work = async {
            let mut transaction = self.0.begin().await?;
            let insert = sqlx::query(
                "insert into access_directory_snapshot (version, position, chain, code, content)
                 values ($1, $2, $3, $4, $5)",
            )
            .bind(snapshot.version)
            .bind(stored(snapshot.position))
            .bind(snapshot.chain.as_slice())
            .bind(&snapshot.code)
            .bind(&snapshot.content);
            insert.execute(&mut *transaction).await?;
            let older = sqlx::query(
                "delete from access_directory_snapshot where version < $1 or (version = $1 and number not in (
                     select number from access_directory_snapshot where version = $1 order by number desc limit $2))",
            );
            let older = older.bind(snapshot.version).bind(KEPT);
            older.execute(&mut *transaction).await?;
            transaction.commit().await
        };
        within(work).await
    }
}
