//! The read side as resolvers ask it: rows that the caller may see, at a moment.
//!
//! One rule: every read of a client's goes through here, so none lacks the scope of the caller.

use async_graphql::{Context, Result};
use projections::{
    history::AsOf,
    paging::{Page, PageRequest},
    read_model::{self, ReadModel, RowFilter},
};

use super::{
    context::{app, viewer},
    errors::read_failed,
};

/// The row under `key`, if the caller may see it.
///
/// # Errors
/// Missing sign-in, or a failing database.
pub async fn find<M: ReadModel>(
    context: &Context<'_>,
    as_of: AsOf,
    key: impl std::fmt::Display + Send,
) -> Result<Option<M::Row>> {
    let (pool, viewer) = (&app(context)?.pool, viewer(context)?);
    let row = read_model::find::<M>(pool, &viewer, as_of, key).await;
    row.map_err(|error| read_failed(&error))
}

/// A page of the rows that the caller may see.
///
/// # Errors
/// Missing sign-in, or a failing database.
pub async fn page<M: ReadModel>(
    context: &Context<'_>,
    as_of: AsOf,
    filter: &RowFilter,
    request: &PageRequest,
) -> Result<Page<M::Row>> {
    let (pool, viewer) = (&app(context)?.pool, viewer(context)?);
    let rows = read_model::page::<M>(pool, &viewer, as_of, filter, request).await;
    rows.map_err(|error| read_failed(&error))
}

/// How many rows of `filter` the caller may see.
///
/// # Errors
/// Missing sign-in, or a failing database.
pub async fn count<M: ReadModel>(context: &Context<'_>, as_of: AsOf, filter: &RowFilter) -> Result<i64> {
    let (pool, viewer) = (&app(context)?.pool, viewer(context)?);
    let counted = read_model::count::<M>(pool, &viewer, as_of, filter).await;
    counted.map_err(|error| read_failed(&error))
}
