//! Filters of lists, as clients send them, made into conditions on rows.
//!
//! One rule: conditions hold together, an omitted one always holds, and one on something that does not exist holds for
//! no row. An id that cannot be parsed names nothing, as in [`super::ids`].

use async_graphql::{Enum, ID, InputObject, Result};
use projections::{
    paging::Column,
    read_model::{self, RowFilter},
};
use uuid::Uuid;

use super::{errors::error_with_code, scalars::DateTime};

/// Characters of a text that is looked for, at most: as many as the longest name has.
const TEXT: usize = 100;

/// A filter that clients can send.
pub trait ListFilter {
    /// The rows that it stands for.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for what cannot be meant.
    fn rows(self) -> Result<RowFilter>;
}

/// Why the caller can read an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AccessFilter {
    /// The caller owns it.
    Owner,
    /// It is shared with the caller, or with the caller's organization or one of the caller's projects.
    Shared,
    /// It is public, and neither owned by nor shared with the caller.
    Public,
}

impl From<AccessFilter> for read_model::Access {
    fn from(access: AccessFilter) -> Self {
        match access {
            AccessFilter::Owner => Self::Owner,
            AccessFilter::Shared => Self::Shared,
            AccessFilter::Public => Self::Public,
        }
    }
}

/// When something was created.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub struct Created {
    /// Created after this time.
    pub created_after: Option<DateTime>,
    /// Created before this time; nothing matches if it is not later than `createdAfter`.
    pub created_before: Option<DateTime>,
}

/// Makes the conditions of a filter, one input after the other; what was omitted adds none.
#[derive(Debug, Default)]
pub struct Conditions(RowFilter);

impl Conditions {
    /// All of them.
    #[must_use]
    pub fn rows(self) -> RowFilter {
        self.0
    }

    fn and<T>(self, value: Option<T>, condition: impl FnOnce(RowFilter, T) -> RowFilter) -> Self {
        match value {
            Some(value) => Self(condition(self.0, value)),
            None => self,
        }
    }

    /// One of `columns` holds `text`, without regard to case.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, naming `path`, for a longer text than any name.
    pub fn contains(self, path: &str, columns: &[Column], text: Option<&str>) -> Result<Self> {
        let text = text.map(|text| searched(path, text)).transpose()?;
        Ok(self.and(text, |rows, text| rows.contains(columns, text)))
    }

    /// `column` holds the id of the thing that `id` names.
    #[must_use]
    pub fn id<T: std::str::FromStr + Into<Uuid>>(self, column: Column, id: Option<&ID>) -> Self {
        self.and(id, |rows, id| match id.parse::<T>() {
            Ok(id) => rows.is(column, id.into()),
            Err(_) => RowFilter::none(),
        })
    }

    /// `column` holds `value`.
    #[must_use]
    pub fn is(self, column: Column, value: Option<impl serde::Serialize>) -> Self {
        self.and(value, |rows, value| rows.is_written(column, &value))
    }

    /// `column` holds one of `values`; none of them: nothing matches.
    #[must_use]
    pub fn any_of(self, column: Column, values: Option<impl IntoIterator<Item = &'static str>>) -> Self {
        self.and(values, |rows, values| {
            let values: std::collections::BTreeSet<&str> = values.into_iter().collect();
            rows.any_of(column, values.into_iter().map(str::to_owned).collect())
        })
    }

    /// The caller reads it for this reason.
    #[must_use]
    pub fn access(self, access: Option<AccessFilter>) -> Self {
        self.and(access, |rows, access| rows.seen_by(access.into()))
    }

    /// `column` is a time that fits.
    #[must_use]
    pub fn created(self, column: Column, created: Created) -> Self {
        let after = created.created_after.map(|at| at.0);
        let before = created.created_before.map(|at| at.0);
        let later = self.and(after, |rows, time| rows.after(column, time));
        later.and(before, |rows, time| rows.before(column, time))
    }
}

/// A text that is looked for.
///
/// # Errors
/// `BAD_USER_INPUT`, naming `path`, for a longer text than any name.
pub fn searched<'a>(path: &str, text: &'a str) -> Result<&'a str> {
    match text.chars().count() {
        ..=TEXT => Ok(text),
        length => Err(error_with_code(
            "BAD_USER_INPUT",
            format!("{path} has {length} characters; at most {TEXT} are allowed"),
        )),
    }
}
