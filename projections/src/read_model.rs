//! What a read model is: a table whose rows are folds of events.
//!
//! Rows travel between Rust and PostgreSQL as JSON objects with one field per column, so that a read model
//! is written down once, as a struct: what the fold makes, what the table holds, and what queries answer
//! are the same thing. A page of events is folded in memory per key and written by one upsert per table.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    time::Duration,
};

use domain::{
    aggregate::DecodeError,
    event_store::{BoxFuture, RecordedEvent},
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _, postgres::PgArguments};

use crate::paging::{Page, PageRequest};

/// Deadline of one read.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// The rows that a page of events touches.
pub struct Rows<R> {
    rows: BTreeMap<String, R>,
    changed: BTreeSet<String>,
}

impl<R> Rows<R> {
    /// Puts a row in place of what is there.
    pub fn put(&mut self, key: impl std::fmt::Display, row: R) {
        let key = key.to_string();
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    /// Changes the row, if there is one.
    pub fn change(&mut self, key: impl std::fmt::Display, change: impl FnOnce(&mut R)) {
        let key = key.to_string();
        if let Some(row) = self.rows.get_mut(&key) {
            change(row);
            self.changed.insert(key);
        }
    }
}

/// A read model.
pub trait ReadModel: Default + Send + Sync + 'static {
    /// One row; its fields are the table's columns, by name.
    type Row: Serialize + DeserializeOwned + Send + Sync + Unpin;
    /// Stable name of the projection.
    const NAME: &'static str;
    /// Version of the fold: a higher one than recorded means that the table is folded anew.
    const VERSION: i32;
    /// The table.
    const TABLE: &'static str;
    /// The column that identifies a row.
    const KEY: &'static str = "id";
    /// The type of that column.
    const KEY_TYPE: &'static str = "uuid";
    /// Whether rows are only ever put, never changed: then none are read before they are written.
    const APPEND_ONLY: bool = false;
    /// Whether rows may hold personal data: then the table is rebuilt when a person was erased (AU-7).
    const PERSONAL: bool = false;
    /// The categories of streams that it folds; empty: all.
    const CATEGORIES: &'static [&'static str];

    /// The keys of the rows that `event` may change; none for tables that are only added to.
    ///
    /// # Errors
    /// When this build cannot read the event.
    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError>;

    /// Applies `event` to the rows.
    ///
    /// # Errors
    /// When this build cannot read the event.
    fn fold(event: &RecordedEvent, rows: &mut Rows<Self::Row>) -> Result<(), DecodeError>;
}

/// Why a page was not folded.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// An event cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row does not fit its struct or its table.
    #[error("row of {table}: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// What does not fit.
        reason: String,
    },
}

/// A projection, as the runner drives it.
pub trait Projector: Send + Sync {
    /// See [`ReadModel::NAME`].
    fn name(&self) -> &'static str;
    /// See [`ReadModel::VERSION`].
    fn version(&self) -> i32;
    /// See [`ReadModel::PERSONAL`].
    fn personal(&self) -> bool;
    /// Whether it folds this event.
    fn wants(&self, event: &RecordedEvent) -> bool;
    /// Folds `events` into the table, inside the transaction of `connection`.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>>;
    /// Empties the table.
    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>>;
}

/// The projection of a read model into its table.
#[derive(Default)]
pub struct Table<M>(PhantomData<M>);

fn misfit<M: ReadModel>(error: &serde_json::Error) -> ProjectError {
    ProjectError::Row {
        table: M::TABLE,
        reason: error.to_string(),
    }
}

async fn load<M: ReadModel>(
    connection: &mut PgConnection,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, M::Row>, ProjectError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // The keys take on the column's type, not the column the keys': so the index is used.
    let statement = format!(
        "select {key}::text, to_jsonb(t)::text from {table} t where {key} = any($1::text[]::{kind}[])",
        key = M::KEY,
        kind = M::KEY_TYPE,
        table = M::TABLE
    );
    let found = sqlx::query(AssertSqlSafe(statement))
        .bind(&keys)
        .fetch_all(connection)
        .await?;
    let mut rows = BTreeMap::new();
    for row in found {
        let (key, json): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        rows.insert(
            key,
            serde_json::from_str(&json).map_err(|error| misfit::<M>(&error))?,
        );
    }
    Ok(rows)
}

async fn save<M: ReadModel>(connection: &mut PgConnection, rows: &[&M::Row]) -> Result<(), ProjectError> {
    let Some(first) = rows.first() else { return Ok(()) };
    let shape = serde_json::to_value(first).map_err(|error| misfit::<M>(&error))?;
    let columns: Vec<&str> = shape
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let list = columns.join(", ");
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| **column != M::KEY)
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let statement = format!(
        "insert into {table} ({list}) select {list} from jsonb_populate_recordset(null::{table}, $1::jsonb) \
         on conflict ({key}) do update set {updates}",
        table = M::TABLE,
        key = M::KEY,
        updates = updates.join(", "),
    );
    let json = serde_json::to_string(rows).map_err(|error| misfit::<M>(&error))?;
    sqlx::query(AssertSqlSafe(statement))
        .bind(without_nul(json))
        .execute(connection)
        .await?;
    Ok(())
}

/// PostgreSQL's `jsonb` and `text` cannot hold the character NUL, which JSON writes as `\\u0000`: read models
/// show the replacement character instead. The log keeps what was recorded.
fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find(NUL) {
        let (before, after) = rest.split_at(at);
        // An odd number of backslashes before makes this one a literal backslash.
        let escaped = before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        clean.push_str(before);
        clean.push_str(if escaped { NUL } else { "\\ufffd" });
        rest = &after[NUL.len()..];
    }
    clean.push_str(rest);
    clean
}

impl<M: ReadModel> Projector for Table<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn version(&self) -> i32 {
        M::VERSION
    }

    fn personal(&self) -> bool {
        M::PERSONAL
    }

    fn wants(&self, event: &RecordedEvent) -> bool {
        M::CATEGORIES.is_empty() || M::CATEGORIES.contains(&event.stream.category())
    }

    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let mut keys = BTreeSet::new();
            for event in events {
                keys.extend(M::keys(event)?);
            }
            if keys.is_empty() && !M::APPEND_ONLY {
                return Ok(());
            }
            let mut rows = Rows {
                rows: load::<M>(&mut *connection, &keys).await?,
                changed: BTreeSet::new(),
            };
            for event in events {
                M::fold(event, &mut rows)?;
            }
            let changed: Vec<&M::Row> = rows.changed.iter().filter_map(|key| rows.rows.get(key)).collect();
            save::<M>(connection, &changed).await
        })
    }

    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let statement = format!("delete from {}", M::TABLE);
            sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
            Ok(())
        })
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the read database is not reachable: {0}")]
    Database(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("the read database did not answer within {} seconds", READ_DEADLINE.as_secs())]
    TimedOut,
    /// A row does not fit its struct.
    #[error("a stored row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
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

#[cfg(test)]
mod tests {
    use super::without_nul;

    #[test]
    fn only_a_real_nul_is_replaced() {
        let text = "a\u{0}b\\u0000c".to_owned();
        let json = serde_json::to_string(&text).expect("text is JSON");
        let back: String = serde_json::from_str(&without_nul(json)).expect("still JSON");
        assert_eq!(back, "a\u{fffd}b\\u0000c");
    }
}
