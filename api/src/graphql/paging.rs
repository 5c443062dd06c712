//! Relay connections: pages in, cursors out.

use async_graphql::{
    OutputType, Result,
    connection::{Connection, Edge, EmptyFields},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use projections::paging::{Page, PageRequest};

use super::{
    as_of::{AsOfInfo, ResolvedAsOf},
    errors::error_with_code,
};

/// Rows on a page when the client does not say.
const DEFAULT: i32 = 25;
/// Rows on a page at most.
const MAX: i32 = 100;
const PREFIX: &str = "after:";

/// Reads `first` and `after`.
///
/// # Errors
/// `BAD_USER_INPUT` for a page size out of range or a cursor that is not ours.
pub fn page(first: Option<i32>, after: Option<&str>) -> Result<PageRequest> {
    page_by(first, after, |key| uuid::Uuid::try_parse(key).is_ok())
}

/// As [`page`], for the list whose rows go by their position in the log.
///
/// # Errors
/// As [`page`].
pub fn page_by_position(first: Option<i32>, after: Option<&str>) -> Result<PageRequest> {
    page_by(first, after, |key| key.parse::<i64>().is_ok())
}

/// `ours`: whether a key is one that the list can go on after. Another list's cursor must not start over.
fn page_by(first: Option<i32>, after: Option<&str>, ours: fn(&str) -> bool) -> Result<PageRequest> {
    let first = first.unwrap_or(DEFAULT);
    if !(1..=MAX).contains(&first) {
        return Err(error_with_code(
            "BAD_USER_INPUT",
            format!("first must be within 1 to {MAX}, not {first}"),
        ));
    }
    let after = after.map(|cursor| key_of(cursor, ours)).transpose()?;
    Ok(PageRequest::newest(
        u32::try_from(first).unwrap_or_default(),
        after,
    ))
}

fn key_of(cursor: &str, ours: fn(&str) -> bool) -> Result<String> {
    let decoded = BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .and_then(|text| text.strip_prefix(PREFIX).map(str::to_owned))
        .filter(|key| ours(key))
        .ok_or_else(|| {
            error_with_code(
                "BAD_USER_INPUT",
                "this cursor was not made by this list; start without one",
            )
        })
}

/// Makes a connection of a page.
pub fn connect<R, N: OutputType>(
    page: Page<R>,
    after: Option<&str>,
    node: impl Fn(R) -> (String, N),
) -> Connection<String, N, EmptyFields, EmptyFields> {
    let mut connection = Connection::new(after.is_some(), page.has_next);
    connection.edges.extend(edges(page, node));
    connection
}

/// As [`connect`], of rows that show what `resolved` says.
pub fn connect_as_of<R, N: OutputType>(
    page: Page<R>,
    after: Option<&str>,
    resolved: ResolvedAsOf,
    node: impl Fn(R) -> (String, N),
) -> Connection<String, N, AsOfInfo> {
    let seen = AsOfInfo {
        as_of: resolved.shown,
    };
    let mut connection = Connection::with_additional_fields(after.is_some(), page.has_next, seen);
    connection.edges.extend(edges(page, node));
    connection
}

fn edges<R, N: OutputType>(
    page: Page<R>,
    node: impl Fn(R) -> (String, N),
) -> impl Iterator<Item = Edge<String, N, EmptyFields>> {
    page.rows.into_iter().map(move |row| {
        let (key, node) = node(row);
        Edge::new(BASE64_URL_SAFE_NO_PAD.encode(format!("{PREFIX}{key}")), node)
    })
}

/// How much a list of `first` rows counts, for the complexity of a query.
#[must_use]
pub fn weight(first: Option<i32>, child: usize) -> usize {
    usize::try_from(first.unwrap_or(DEFAULT).clamp(1, MAX))
        .unwrap_or(1)
        .saturating_mul(child.max(1))
}
