//! What a read model is: a table whose rows are folds of events.
//!
//! Rows travel between Rust and PostgreSQL as JSON objects with one field per column, so that a read model
//! is written down once, as a struct: what the fold makes, what the table holds, and what queries answer
//! are the same thing. A page of events is folded in memory per key and written by one upsert per table.

mod reading;
mod rows;
mod stored;
mod table;
mod target;

use domain::{
    aggregate::DecodeError,
    event_store::{BoxFuture, RecordedEvent},
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;

use crate::history::History;

pub use self::{
    reading::{Query, ReadError},
    rows::Rows,
    table::Table,
    target::{SHADOW, Target},
};
pub(crate) use self::{
    reading::{count, fetch, fetch_one, fetch_page},
    stored::without_nul,
};

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
    /// Whether rows may hold personal data: then the table is folded anew when a person is erased.
    const PERSONAL: bool = false;
    /// Whether its past can be asked for, and how it is kept. Whoever declares it makes the tables in a
    /// migration (`create_history`) and raises [`ReadModel::VERSION`].
    const HISTORY: Option<History> = None;
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
    /// See [`ReadModel::HISTORY`].
    fn history(&self) -> Option<History>;
    /// Every table that it writes, under the names that queries read: the rows, and their past.
    fn tables(&self) -> Vec<String>;
    /// Whether it folds this event.
    fn wants(&self, event: &RecordedEvent) -> bool;
    /// Folds `events` into the table, inside the transaction of `connection`.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>>;
    /// Empties its tables.
    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>>;
}
