//! Relay connections: pages in, cursors out.
//!
//! One rule: a cursor names its list and its order, so no other list goes on after it.

mod connection;
mod order;

use async_graphql::{OutputType, Result};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
pub use connection::{AsOfInfo, Connection, Count, Counted, Edge};
pub(super) use order::list_order;
pub use order::{ListOrder, Sort, SortDirection};
use projections::paging::{Cursor, Page, PageRequest};

use super::{as_of::ResolvedAsOf, errors::error_with_code};

/// Rows on a page when the client does not say.
pub const DEFAULT: i32 = 25;
/// Rows on a page at most.
pub const MAX: i32 = 100;

/// A list with its order, as its cursors name it, and what its keys look like.
#[derive(Clone, Copy, Debug)]
pub struct List {
    name: &'static str,
    is_key: fn(&str) -> bool,
    sort: Sort,
}

impl List {
    /// A list whose rows go by their id.
    #[must_use]
    pub const fn by_id(name: &'static str) -> Self {
        let is_key = |key: &str| uuid::Uuid::try_parse(key).is_ok();
        let sort = Sort::NEWEST_FIRST;
        Self { name, is_key, sort }
    }

    /// A list whose rows go by their position in the log.
    #[must_use]
    pub const fn by_position(name: &'static str) -> Self {
        let is_key = |key: &str| key.parse::<i64>().is_ok();
        let sort = Sort::NEWEST_FIRST;
        Self { name, is_key, sort }
    }

    /// A list whose rows go by a text of their own.
    #[must_use]
    pub const fn by_text(name: &'static str) -> Self {
        let is_key = |_: &str| true;
        let sort = Sort::NEWEST_FIRST;
        Self { name, is_key, sort }
    }

    /// The same list in this order.
    #[must_use]
    pub const fn sorted(self, sort: Sort) -> Self {
        Self { sort, ..self }
    }

    /// Reads `first` and `after`. A page of 0 rows tells whether there are any.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a page size out of range, or a cursor that this list in this order did not make.
    pub fn page(self, first: Option<i32>, after: Option<&str>) -> Result<PageRequest> {
        let first = first.unwrap_or(DEFAULT);
        let size = u32::try_from(first).ok().filter(|_| first <= MAX);
        let first = size.ok_or_else(|| {
            error_with_code(
                "BAD_USER_INPUT",
                format!("first must be within 0 to {MAX}, not {first}"),
            )
        })?;
        Ok(PageRequest {
            first,
            after: after.map(|cursor| self.place_of(cursor)).transpose()?,
            order: self.sort.column,
            ascending: self.sort.ascending,
        })
    }

    fn place_of(self, cursor: &str) -> Result<Cursor> {
        let decoded = BASE64_URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let place = decoded
            .as_deref()
            .and_then(|text| self.read(text.strip_prefix(&self.prefix())?));
        place.ok_or_else(|| {
            error_with_code(
                "BAD_USER_INPUT",
                "this cursor was not made by this list in this order; start without one",
            )
        })
    }

    /// What its cursors begin with.
    fn prefix(self) -> String {
        let Sort { name, ascending, .. } = self.sort;
        let way = if ascending { "ascending" } else { "descending" };
        format!("{}/{name}/{way}:", self.name)
    }

    /// Reads what [`List::place`] wrote.
    fn read(self, place: &str) -> Option<Cursor> {
        let (key, value) = match self.sort.column {
            None => (place, None),
            Some(column) => {
                let (key, value) = place.split_once(':')?;
                column.holds(value).then_some((key, Some(value.to_owned())))?
            }
        };
        let key = key.to_owned();
        (self.is_key)(&key).then_some(Cursor { key, value })
    }

    /// The place of a row in this order: its key, and its value in the column of the order if there is one. Keys of
    /// lists that have other orders than their key's hold no colon.
    pub(super) fn place(key: String, value: Option<&str>) -> String {
        match value {
            None => key,
            Some(value) => format!("{key}:{value}"),
        }
    }

    /// Makes a connection of a page; `node` gives a row's place in its order and what clients see of it.
    pub fn connect<R, N: OutputType>(
        self,
        page: Page<R>,
        after: Option<&str>,
        count: Count,
        node: impl Fn(R) -> (String, N),
    ) -> Connection<N> {
        let edges = self.edges(page.rows, node);
        Connection::new(edges, after.is_some(), page.has_next, Counted(count))
    }

    /// As [`List::connect`], of rows that show what `resolved` says.
    pub fn connect_as_of<R, N: OutputType>(
        self,
        page: Page<R>,
        after: Option<&str>,
        resolved: ResolvedAsOf,
        count: Count,
        node: impl Fn(R) -> (String, N),
    ) -> Connection<N, AsOfInfo> {
        let edges = self.edges(page.rows, node);
        let additional = AsOfInfo {
            as_of: resolved.shown,
            counted: Counted(count),
        };
        Connection::new(edges, after.is_some(), page.has_next, additional)
    }

    fn edges<R, N: OutputType>(self, rows: Vec<R>, node: impl Fn(R) -> (String, N)) -> Vec<Edge<N>> {
        let prefix = self.prefix();
        let edge = |row| {
            let (place, node) = node(row);
            let cursor = BASE64_URL_SAFE_NO_PAD.encode(format!("{prefix}{place}"));
            Edge { cursor, node }
        };
        rows.into_iter().map(edge).collect()
    }
}
