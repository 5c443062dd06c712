//! Which rows of a list are wanted, and in which order.
//!
//! One rule: columns come from a read model's code, values are bound; nothing of a client's gets into a statement.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Access, Query, text::as_stored};
use crate::paging::Column;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    Is(Column),
    AnyOf(Column),
    After(Column),
    Before(Column),
    Contains(Vec<Column>),
    Never,
}

/// Conditions that hold together; none: all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowFilter {
    tests: Vec<(Test, Vec<String>)>,
    access: Option<Access>,
}

impl RowFilter {
    /// All rows.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// No rows.
    #[must_use]
    pub fn none() -> Self {
        Self::default().with(Test::Never, Vec::new())
    }

    fn with(mut self, test: Test, values: Vec<String>) -> Self {
        self.tests.push((test, values));
        self
    }

    /// Whose `column` has this value.
    #[must_use]
    pub fn is(self, column: Column, value: impl std::fmt::Display) -> Self {
        self.with(Test::Is(column), vec![value.to_string()])
    }

    /// Whose `column` has this value, as rows are written.
    #[must_use]
    pub fn is_written(self, column: Column, value: &impl serde::Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(serde_json::Value::String(text)) => self.is(column, text),
            Ok(other) => self.is(column, other),
            Err(_) => self.with(Test::Never, Vec::new()),
        }
    }

    /// Whose `column` has one of these values; none of them: no rows.
    #[must_use]
    pub fn any_of(self, column: Column, values: Vec<String>) -> Self {
        self.with(Test::AnyOf(column), values)
    }

    /// Whose `column` has a later time.
    #[must_use]
    pub fn after(self, column: Column, time: OffsetDateTime) -> Self {
        self.with(Test::After(column), vec![stamp(time)])
    }

    /// Whose `column` has an earlier time.
    #[must_use]
    pub fn before(self, column: Column, time: OffsetDateTime) -> Self {
        self.with(Test::Before(column), vec![stamp(time)])
    }

    /// Of which one of `columns` holds this text, without regard to case.
    #[must_use]
    pub fn contains(self, columns: &[Column], text: &str) -> Self {
        self.with(
            Test::Contains(columns.to_vec()),
            vec![as_stored(text).into_owned()],
        )
    }

    /// Which the caller sees for this reason. Then an administrator has no more than anybody else: what would be seen
    /// without that right is told apart. Read models without shared things have no such rows.
    #[must_use]
    pub fn seen_by(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    pub(super) fn access(&self) -> Option<Access> {
        self.access
    }

    /// As SQL over `t`, with parameters from number `first` on.
    pub(super) fn sql(&self, first: usize) -> String {
        let tests = self.tests.iter().enumerate();
        let each = tests.map(|(index, (test, _))| format!(" and {}", test.sql(first + index)));
        each.collect()
    }

    pub(super) fn count(&self) -> usize {
        self.tests.len()
    }

    pub(super) fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        let values = self.tests.iter().map(|(_, values)| values);
        values.fold(query, Query::bind)
    }
}

impl Test {
    /// As SQL over `t`. Each parameter is an array of text, so that they number the same whatever they test.
    fn sql(&self, number: usize) -> String {
        let compare = |Column { name, kind }: &Column, sign: &str| {
            format!("t.{name} {sign} (${number}::text[])[1]::{kind}")
        };
        match self {
            Self::Is(column) => compare(column, "="),
            Self::AnyOf(Column { name, kind }) => {
                format!("t.{name} = any(${number}::text[]::{kind}[])")
            }
            Self::After(column) => compare(column, ">"),
            Self::Before(column) => compare(column, "<"),
            Self::Contains(columns) => {
                let each = columns.iter().map(|Column { name, .. }| {
                    format!("strpos(lower(t.{name}::text), lower((${number}::text[])[1])) > 0")
                });
                format!("({})", each.collect::<Vec<_>>().join(" or "))
            }
            Self::Never => format!("${number}::text[] is null"),
        }
    }
}

/// A time as the database reads it, which knows no year 0.
fn stamp(time: OffsetDateTime) -> String {
    match time.year() {
        ..=0 => "-infinity".to_owned(),
        _ => time.format(&Rfc3339).unwrap_or_else(|_| "infinity".to_owned()),
    }
}
