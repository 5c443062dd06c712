//! Relay connections: pages in, cursors out.
//!
//! One rule: a cursor names its list and its order, so no other list goes on after it.

mod connection;

use async_graphql::{OutputType, Result};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
pub use connection::{AsOfInfo, Connection, Count, Counted, Edge};
use projections::paging::{Page, PageRequest};

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
}

impl List {
    /// A list whose rows go by their id.
    #[must_use]
    pub const fn by_id(name: &'static str) -> Self {
        let is_key = |key: &str| uuid::Uuid::try_parse(key).is_ok();
        Self { name, is_key }
    }

    /// A list whose rows go by their position in the log.
    #[must_use]
    pub const fn by_position(name: &'static str) -> Self {
        let is_key = |key: &str| key.parse::<i64>().is_ok();
        Self { name, is_key }
    }

    /// A list whose rows go by a text of their own.
    #[must_use]
    pub const fn by_text(name: &'static str) -> Self {
        let is_key = |_: &str| true;
        Self { name, is_key }
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
        let after = after.map(|cursor| self.key_of(cursor)).transpose()?;
        Ok(PageRequest::newest(first, after))
    }

    fn key_of(self, cursor: &str) -> Result<String> {
        let decoded = BASE64_URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let key = decoded.as_deref().and_then(|text| {
            let (name, key) = text.split_once(':')?;
            (name == self.name && (self.is_key)(key)).then(|| key.to_owned())
        });
        key.ok_or_else(|| {
            error_with_code(
                "BAD_USER_INPUT",
                "this cursor was not made by this list in this order; start without one",
            )
        })
    }

    /// Makes a connection of a page; `node` gives a row's key and what clients see of it.
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
        let edge = |row| {
            let (key, node) = node(row);
            let cursor = BASE64_URL_SAFE_NO_PAD.encode(format!("{}:{key}", self.name));
            Edge { cursor, node }
        };
        rows.into_iter().map(edge).collect()
    }
}
