//! Global ids as clients send them.
//!
//! One rule: an id that cannot be parsed names nothing, so it is answered like one that does not exist.

use async_graphql::{ID, Result};

use super::errors::error_with_code;

/// Parses the id of an object in a query.
///
/// # Errors
/// `NOT_FOUND` for a text that is not an id of this kind.
pub fn id_or_not_found<T: std::str::FromStr>(id: &ID) -> Result<T> {
    id.parse().map_err(|_| error_with_code("NOT_FOUND", "not found"))
}
