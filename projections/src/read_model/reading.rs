//! Reading rows for queries.
//!
//! The rule: every read has a deadline, and what comes back is the row's struct, whole.

use std::time::Duration;

use event_store::postgres::{describe, is_outage};
use serde::de::DeserializeOwned;
use sqlx::{PgPool, Postgres, Row as _, postgres::PgArguments};

use super::source::NotServed;
use crate::paging::{Page, PageRequest};

/// Deadline of one read.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the read models cannot be read: {}", describe(.0))]
    Database(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("the read database did not answer within {} seconds", READ_DEADLINE.as_secs())]
    TimedOut,
    /// A read model that it needs does not follow the log.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// A row does not fit its struct.
    #[error("a stored row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

impl ReadError {
    /// Whether the database is to blame and the same read may do later; if not, it is a defect.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => is_outage(error),
            Self::TimedOut | Self::NotServed(_) => true,
            Self::Row(_) => false,
        }
    }
}

/// A statement with its parameters.
pub type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// Reads whole rows of one read model; the statement selects `to_jsonb(t)::text`.
pub(crate) async fn fetch<R: DeserializeOwned>(pool: &PgPool, query: Query<'_>) -> Result<Vec<R>, ReadError> {
    let found = tokio::time::timeout(READ_DEADLINE, query.fetch_all(pool))
        .await
        .map_err(|_| ReadError::TimedOut)??;
    found
        .iter()
        .map(|row| Ok(serde_json::from_str(row.try_get::<&str, _>(0)?)?))
        .collect()
}

/// Reads a page; the statement's last parameter is its limit.
pub(crate) async fn fetch_page<R: DeserializeOwned>(
    pool: &PgPool,
    query: Query<'_>,
    page: &PageRequest,
) -> Result<Page<R>, ReadError> {
    // One more than wanted tells whether others follow.
    let rows = fetch(pool, query.bind(i64::from(page.first) + 1)).await?;
    Ok(Page::from_overread(rows, page.first))
}

/// Reads at most one row.
pub(crate) async fn fetch_one<R: DeserializeOwned>(
    pool: &PgPool,
    query: Query<'_>,
) -> Result<Option<R>, ReadError> {
    Ok(fetch(pool, query).await?.into_iter().next())
}

/// Reads a count.
pub(crate) async fn count(pool: &PgPool, query: Query<'_>) -> Result<i64, ReadError> {
    let row = tokio::time::timeout(READ_DEADLINE, query.fetch_one(pool))
        .await
        .map_err(|_| ReadError::TimedOut)??;
    Ok(row.try_get(0)?)
}
