//! What a read model is: a table whose rows are folds of events.
//!
//! A read model is written down once, as a struct with [`Row`] derived: what the fold makes, what the table holds, and what
//! queries answer are the same thing. Rows travel in PostgreSQL's binary form, encoded and decoded by column
//! (`ops/adr/0029-rows-are-typed.md`). A page of events is folded in memory per key and written by one statement.

mod appended;
mod builder;
mod column;
mod copy;
mod filter;
mod fold;
mod history;
mod history_writer;
mod json;
mod nested;
mod reading;
mod row;
mod rows;
mod scope;
mod scoped;
mod source;
mod statement;
mod stored;
mod table;
mod target;
mod text;
mod write;

use domain::{
    aggregate::DecodeError,
    event_store::{BoxFuture, RecordedEvent},
};
use sqlx::PgConnection;

pub use row_derive::Row;

pub use self::{
    builder::Builder,
    column::{ColumnValue, Kind, Misread},
    filter::RowFilter,
    history::{History, HotColumns},
    json::row_json,
    nested::{counts, pages},
    reading::{Query, ReadError},
    row::{Row, RowColumn, RowError, Tuple, Values, select_list},
    rows::Rows,
    scope::{Access, Parent, Scope, Viewer},
    scoped::{count, find, find_many, page, shared_with, value_of},
    source::{NotServed, ReadModels, Source, Unserved},
    table::Table,
    target::{SHADOW, Target},
    write::Write,
};
pub(crate) use self::{
    reading::{fetch, fetch_json, fetch_one, fetch_page},
    scoped::rows,
    statement::Statement,
};

/// A read model.
pub trait ReadModel: Default + Send + Sync + 'static {
    /// One row; its fields are the table's columns.
    type Row: Row;
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
    /// Who may see its rows; see [`scope`](Scope). There is no default.
    const SCOPE: Scope;
    /// Of rows that are only ever put: the column with the position of the event that put them. Their past is what was put
    /// by then.
    const RECORDED_AT: Option<&'static str> = None;
    /// The categories of streams that it folds; empty: all. The first is that of the streams whose first event makes the
    /// row under the stream's key, if rows are under such keys: for that event none is looked up.
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
    #[error("database: {}", unquoted(.0))]
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

/// What a database error says, without the value that it may quote: rows hold personal data, and what keeps a
/// projection from going on is kept and logged.
pub(crate) fn unquoted(error: &sqlx::Error) -> String {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    match code {
        // Data exceptions; the messages of other classes name tables, columns and constraints.
        Some(code) if code.starts_with("22") => format!("a value does not fit its column (SQLSTATE {code})"),
        _ => error.to_string(),
    }
}

impl ProjectError {
    /// The versions that are stored are not those of the stored rows.
    pub(crate) fn past(table: &'static str) -> Self {
        Self::Row {
            table,
            reason: "its past does not fit its present; fold it anew with `anneal replay`".to_owned(),
        }
    }

    /// Whether an event is to blame, so that trying the same again meets the same; else the environment is.
    #[must_use]
    pub fn blames_an_event(&self) -> bool {
        match self {
            Self::Decode(_) | Self::Row { .. } => true,
            // Classes of SQLSTATE: what does not fit the column, a constraint or the table, is larger than a limit (as an
            // index has one), or is refused by a trigger.
            Self::Database(error) => error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| {
                    ["22", "23", "42", "54", "P0"]
                        .iter()
                        .any(|class| code.starts_with(class))
                }),
        }
    }
}

/// A table of a read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// The column that identifies a row.
    pub key: &'static str,
    /// The type of that column.
    pub key_type: &'static str,
    /// Whether it holds versions of rows: then `valid_from` and the key together identify one.
    pub versions: bool,
}

impl Described {
    /// What identifies a row, as an expression over columns with `prefix` before their names.
    #[must_use]
    pub fn identity(&self, prefix: &str) -> String {
        match self.versions {
            true => format!(
                "({prefix}{}::text || ' ' || lpad({prefix}valid_from::text, 20, '0'))",
                self.key
            ),
            false => format!("{prefix}{}", self.key),
        }
    }
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
    /// Whether it folds this event.
    fn wants(&self, event: &RecordedEvent) -> bool {
        let categories = self.categories();
        categories.is_empty() || categories.contains(&event.stream.category())
    }
    /// See [`ReadModel::CATEGORIES`].
    fn categories(&self) -> &'static [&'static str];
    /// Folds `events` into the table, inside the transaction of `connection`.
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>>;
    /// The tables that it writes, the main one first, under the names that queries read: the rows, and their
    /// past. They are rebuilt and swapped together.
    fn tables(&self) -> Vec<Described>;
    /// Begins to fold into the tables of `target`. `fresh`: they are empty.
    fn builder(&self, target: Target, fresh: bool) -> Box<dyn Builder>;
    /// Empties the tables.
    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>>;
}
