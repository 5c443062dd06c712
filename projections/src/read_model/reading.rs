//! Reading rows for queries.
//!
//! The rule: every read has a deadline, and what comes back is the row's struct, whole.

use std::time::Duration;

use event_store::postgres::{describe, is_outage};
use serde::de::DeserializeOwned;
use sqlx::{
    PgPool, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
};

use super::{Row, RowError, Values, source::NotServed};
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
    Row(#[from] RowError),
    /// What is put together from several tables does not fit.
    #[error("stored rows cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl ReadError {
    /// Whether the database is to blame and the same read may do later; if not, it is a defect.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => is_outage(error),
            Self::TimedOut | Self::NotServed(_) => true,
            Self::Row(_) | Self::Json(_) => false,
        }
    }
}

/// A statement with its parameters.
pub type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

async fn all(pool: &PgPool, query: Query<'_>) -> Result<Vec<PgRow>, ReadError> {
    let found = tokio::time::timeout(READ_DEADLINE, query.fetch_all(pool));
    Ok(found.await.map_err(|_| ReadError::TimedOut)??)
}

/// Reads whole rows of one read model; the statement selects their [`select_list`](super::select_list).
pub(crate) async fn fetch<R: Row>(pool: &PgPool, query: Query<'_>) -> Result<Vec<R>, ReadError> {
    let found = all(pool, query).await?;
    let rows = found.iter().map(|row| R::decode(&mut Values::of(row, 0)));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// As [`fetch`], with the text of a first column before each.
pub(super) async fn fetch_keyed<R: Row>(
    pool: &PgPool,
    query: Query<'_>,
) -> Result<Vec<(String, R)>, ReadError> {
    let found = all(pool, query).await?;
    let rows = found
        .iter()
        .map(|row| Ok((row.try_get(0)?, R::decode(&mut Values::of(row, 1))?)));
    rows.collect()
}

/// Reads a page; the statement's last parameter is its limit.
pub(crate) async fn fetch_page<R: Row>(
    pool: &PgPool,
    query: Query<'_>,
    page: &PageRequest,
) -> Result<Page<R>, ReadError> {
    // One more than wanted tells whether others follow.
    let rows = fetch(pool, query.bind(i64::from(page.first) + 1)).await?;
    Ok(Page::from_overread(rows, page.first))
}

/// Reads at most one row.
pub(crate) async fn fetch_one<R: Row>(pool: &PgPool, query: Query<'_>) -> Result<Option<R>, ReadError> {
    Ok(fetch(pool, query).await?.into_iter().next())
}

/// Reads what is put together from several tables; the statement selects it as the text of its JSON.
pub(crate) async fn fetch_json<R: DeserializeOwned>(
    pool: &PgPool,
    query: Query<'_>,
) -> Result<Vec<R>, ReadError> {
    let found = all(pool, query).await?;
    let rows = found
        .iter()
        .map(|row| Ok(serde_json::from_str(row.try_get::<&str, _>(0)?)?));
    rows.collect()
}

/// Reads a count.
pub(crate) async fn count(pool: &PgPool, query: Query<'_>) -> Result<i64, ReadError> {
    let row = tokio::time::timeout(READ_DEADLINE, query.fetch_one(pool))
        .await
        .map_err(|_| ReadError::TimedOut)??;
    Ok(row.try_get(0)?)
}
