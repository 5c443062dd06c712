//! The read side as resolvers ask it: rows that the caller may see, at a moment.
//!
//! One rule: every read of a client's goes through here, so none lacks the scope of the caller.
//!
//! What waits for the database is boxed: each field of a type has room for the largest of its fields, for each row of a list.

use std::sync::Arc;

use async_graphql::{Context, OutputType, Result};
use projections::{
    history::AsOf,
    paging::{Column, Page},
    read_model::{self, ReadError, ReadModel, RowFilter},
};
use uuid::Uuid;

use super::{
    as_of::ResolvedAsOf,
    context::{app, viewer},
    errors::read_failed,
    filters::ListFilter,
    loaders::{CountLoader, Nested, NestedList, PageLoader, load, loader},
    paging::{AsOfInfo, Connection, Count, List, ListOrder, Sort},
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
    let (read_models, viewer) = (&app(context)?.read_models, viewer(context)?);
    let row = Box::pin(read_model::find::<M>(read_models, &viewer, as_of, key)).await;
    row.map_err(|error| read_failed(&error))
}

/// Which rows of a read model are wanted, in which order, and which page of them.
#[derive(Clone, Debug)]
pub struct Wanted {
    filter: RowFilter,
    sort: Sort,
    first: Option<i32>,
    after: Option<String>,
}

impl Wanted {
    /// What the arguments of a list say; omitted: all rows, the newest first.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a filter that cannot be meant.
    pub fn of(
        filter: Option<impl ListFilter>,
        order: Option<impl ListOrder>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Self> {
        Ok(Self {
            filter: filter.map_or(Ok(RowFilter::all()), ListFilter::rows)?,
            sort: order.map_or(Sort::NEWEST_FIRST, ListOrder::sort),
            first,
            after,
        })
    }
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
    let (list, after) = (list.sorted(wanted.sort), wanted.after.as_deref());
    let (viewer, request) = (viewer(context)?, list.page(wanted.first, after)?);
    let (read_models, as_of, filter) = (app(context)?.read_models.clone(), resolved.as_of, wanted.filter);
    let page = Box::pin(read_model::page::<M>(
        &read_models,
        &viewer,
        as_of,
        &filter,
        &request,
    ))
    .await;
    let page = page.and_then(|page| with_values::<M>(page, request.order));
    let page = page.map_err(|error| read_failed(&error))?;
    let count = Count::with(move || {
        let (read_models, viewer, filter) = (read_models.clone(), viewer.clone(), filter.clone());
        async move { Ok(read_model::count::<M>(&read_models, &viewer, as_of, &filter).await?) }
    });
    Ok(list.connect_as_of(page, after, resolved, count, placed::<M, N>(node)))
}

/// As [`list`], of the rows that have a thing in a column. What rows of one list want at the same time is read by one
/// statement.
///
/// # Errors
/// As [`list`].
pub async fn nested<M: ReadModel<Row: Clone>, N: OutputType>(
    context: &Context<'_>,
    list: List,
    resolved: ResolvedAsOf,
    (column, thing): (Column, Uuid),
    wanted: Wanted,
    node: impl Fn(M::Row) -> (String, N),
) -> Result<Connection<N, AsOfInfo>> {
    let (list, after) = (list.sorted(wanted.sort), wanted.after.as_deref());
    let request = list.page(wanted.first, after)?;
    let order = request.order;
    let nested = Nested {
        thing,
        list: Arc::new(NestedList {
            column,
            as_of: resolved.as_of,
            viewer: viewer(context)?,
            filter: wanted.filter,
            page: request,
        }),
    };
    let page = load::<PageLoader<M>, _>(context, nested.clone()).await?;
    let page = page.map_err(|error| read_failed(&error))?.unwrap_or_default();
    let page = with_values::<M>(page, order).map_err(|error| read_failed(&error))?;
    let counter = loader::<CountLoader<M>>(context)?;
    let count = Count::with(move || {
        let (counter, nested) = (Arc::clone(&counter), nested.clone());
        async move { Ok(counter.load_one(nested).await?.unwrap_or_default()) }
    });
    Ok(list.connect_as_of(page, after, resolved, count, placed::<M, N>(node)))
}

/// What clients see of a row, with its place in the order.
fn placed<M: ReadModel, N>(node: impl Fn(M::Row) -> (String, N)) -> impl Fn(Valued<M>) -> (String, N) {
    move |(row, value)| {
        let (key, node) = node(row);
        (List::place(key, value.as_deref()), node)
    }
}

/// A row with what it has in the column of the order.
type Valued<M> = (<M as ReadModel>::Row, Option<String>);

/// The rows with what they have in the column of the order.
fn with_values<M: ReadModel>(
    page: Page<M::Row>,
    order: Option<Column>,
) -> std::result::Result<Page<Valued<M>>, ReadError> {
    let rows = page.rows.into_iter().map(|row| {
        let value = order.map(|column| read_model::value_of::<M>(&row, column));
        Ok((row, value.transpose()?))
    });
    Ok(Page {
        rows: rows.collect::<std::result::Result<_, ReadError>>()?,
        has_next: page.has_next,
    })
}
