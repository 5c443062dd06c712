//! Which rows of a list are wanted, and in which order.
//!
//! One rule: columns come from a read model's code, values are bound; nothing of a client's gets into a statement.

use super::Query;
use crate::paging::Column;

#[derive(Clone, Debug)]
enum Test {
    Is,
    AnyOf,
    From,
    Before,
    Contains,
    Unset,
}

/// Conditions that hold together; none: all rows.
#[derive(Clone, Debug, Default)]
pub struct RowFilter(Vec<(Column, Test, Vec<String>)>);

impl RowFilter {
    /// All rows.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    fn with(mut self, column: Column, test: Test, values: Vec<String>) -> Self {
        self.0.push((column, test, values));
        self
    }

    /// Whose `column` has this value.
    #[must_use]
    pub fn is(self, column: Column, value: impl std::fmt::Display) -> Self {
        self.with(column, Test::Is, vec![value.to_string()])
    }

    /// Whose `column` has one of these values.
    #[must_use]
    pub fn any_of(self, column: Column, values: Vec<String>) -> Self {
        self.with(column, Test::AnyOf, values)
    }

    /// Whose `column` has this value or a greater one.
    #[must_use]
    pub fn from(self, column: Column, value: impl std::fmt::Display) -> Self {
        self.with(column, Test::From, vec![value.to_string()])
    }

    /// Whose `column` has a smaller value.
    #[must_use]
    pub fn before(self, column: Column, value: impl std::fmt::Display) -> Self {
        self.with(column, Test::Before, vec![value.to_string()])
    }

    /// Whose `column` holds this text, without regard to case.
    #[must_use]
    pub fn contains(self, column: Column, text: impl Into<String>) -> Self {
        self.with(column, Test::Contains, vec![text.into()])
    }

    /// Whose `column` has no value.
    #[must_use]
    pub fn unset(self, column: Column) -> Self {
        self.with(column, Test::Unset, Vec::new())
    }

    /// As SQL over `t`, with parameters from number `first` on.
    pub(super) fn sql(&self, first: usize) -> String {
        let each = self.0.iter().enumerate().map(|(index, (column, test, _))| {
            let (name, kind, number) = (column.name, column.kind, first + index);
            // Each is bound as an array of text, so that they number the same whatever they test.
            let value = format!("(${number}::text[])[1]::{kind}");
            match test {
                Test::Is => format!(" and t.{name} = {value}"),
                Test::AnyOf => format!(" and t.{name} = any(${number}::text[]::{kind}[])"),
                Test::From => format!(" and t.{name} >= {value}"),
                Test::Before => format!(" and t.{name} < {value}"),
                Test::Contains => {
                    format!(" and strpos(lower(t.{name}::text), lower((${number}::text[])[1])) > 0")
                }
                Test::Unset => format!(" and t.{name} is null and ${number}::text[] is not null"),
            }
        });
        each.collect()
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        self.0
            .iter()
            .fold(query, |query, (_, _, values)| query.bind(values))
    }
}
