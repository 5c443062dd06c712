//! The read side as resolvers ask it: rows that the caller may see, at a moment.
//!
//! One rule: every read of a client's goes through here, so none lacks the scope of the caller.

use async_graphql::{Context, OutputType, Result};
use projections::{
    history::AsOf,
    read_model::{self, ReadModel, RowFilter},
};

use super::{
    as_of::ResolvedAsOf,
    context::{app, viewer},
    errors::read_failed,
    paging::{AsOfInfo, Connection, Count, List},
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

/// Which rows of a read model are wanted, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Which rows.
    pub filter: RowFilter,
    /// How many of them at most.
    pub first: Option<i32>,
    /// After this cursor.
    pub after: Option<String>,
}

/// A connection of the rows that the caller may see; `node` gives a row's key and what clients see of it.
///
/// # Errors
/// Missing sign-in, a page size or cursor that does not fit, or a failing database.
pub async fn list<M: ReadModel, N: OutputType>(
    context: &Context<'_>,
    list: List,
    resolved: ResolvedAsOf,
    wanted: Wanted,
    node: impl Fn(M::Row) -> (String, N),
) -> Result<Connection<N, AsOfInfo>> {
    let (viewer, request) = (
        viewer(context)?,
        list.page(wanted.first, wanted.after.as_deref())?,
    );
    let (pool, as_of, filter) = (app(context)?.pool.clone(), resolved.as_of, wanted.filter);
    let rows = read_model::page::<M>(&pool, &viewer, as_of, &filter, &request).await;
    let rows = rows.map_err(|error| read_failed(&error))?;
    let count = Count::with(move || {
        let (pool, viewer, filter) = (pool.clone(), viewer.clone(), filter.clone());
        async move { read_model::count::<M>(&pool, &viewer, as_of, &filter).await }
    });
    Ok(list.connect_as_of(rows, wanted.after.as_deref(), resolved, count, node))
}
