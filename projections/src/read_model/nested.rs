//! Lists of rows that are in other things: a page, or a count, for each of many things by one statement.
//!
//! One rule: a page for each of many things is, row by row, the page that [`super::page`] gives for one of them alone; so
//! scope, order and cursors are those of [`super::scoped`]. `tests/it/projections/scopes.rs` compares the two.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    Query, ReadError, ReadModel, Row, RowFilter, Scope, Source, Viewer,
    reading::fetch_keyed,
    row::select_list,
    scope::{self, PARAMETERS, Same},
    scoped::{Order, one_of, within},
};
use crate::{
    history::AsOf,
    paging::{Column, Page, PageRequest},
};

/// The things that rows are wanted of, as SQL.
const THING: &str = "thing.k";

/// Of each of `things`, a page of the rows of `filter` that have it in `column` and that `viewer` may see. Things without
/// rows are left out. `column` needs an index with the key of `M` after it.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn pages<M: ReadModel>(
    source: &impl Source,
    viewer: &Viewer,
    as_of: AsOf,
    (column, things): (Column, &[Uuid]),
    filter: &RowFilter,
    page: &PageRequest,
) -> Result<Vec<(Uuid, Page<M::Row>)>, ReadError> {
    let viewer = &within(viewer, filter);
    let nested = Nested::of::<M>(viewer, as_of, column, filter);
    let order = Order::of::<M>(page, nested.next);
    let same = Same {
        column: column.name,
        value: THING,
    };
    let statement = format!(
        "select {THING}::text, {columns} from {things} cross join lateral \
         (select t.* from {rows} t where {seen}{beyond} limit ${limit}) t{sorted}",
        columns = select_list::<M::Row>("t"),
        things = nested.things,
        rows = as_of.of::<M>(),
        seen = nested.rows,
        beyond = order.beyond_in(same),
        limit = order.limit(),
        sorted = order.by_after(THING),
    );
    let query = Order::bind(nested.bind(as_of.query(statement), viewer, things), page);
    let query = query.bind(i64::from(page.first) + 1);
    let found = fetch_keyed(source.serving(&scope::needed::<M>(viewer))?, query).await?;
    let pages = grouped(found)?.into_iter();
    Ok(pages
        .map(|(thing, rows)| (thing, Page::from_overread(rows, page.first)))
        .collect())
}

/// Of each of `things`, how many rows of `filter` have it in `column` that `viewer` may see. Things without rows are left
/// out.
///
/// # Errors
/// As [`pages`].
pub async fn counts<M: ReadModel>(
    source: &impl Source,
    viewer: &Viewer,
    as_of: AsOf,
    (column, things): (Column, &[Uuid]),
    filter: &RowFilter,
) -> Result<Vec<(Uuid, i64)>, ReadError> {
    let viewer = &within(viewer, filter);
    let nested = Nested::of::<M>(viewer, as_of, column, filter);
    let statement = format!(
        "select {THING}::text, count(*) as rows from {things} join {rows} t on t.{column} = {THING} \
         where {seen} group by {THING}",
        things = nested.things,
        rows = as_of.of::<M>(),
        column = column.name,
        seen = nested.rows,
    );
    let query = nested.bind(as_of.query(statement), viewer, things);
    let found = fetch_keyed::<Counted>(source.serving(&scope::needed::<M>(viewer))?, query).await?;
    let parsed = |(thing, counted): (String, Counted)| Ok((read(&thing)?, counted.rows));
    found.into_iter().map(parsed).collect()
}

#[derive(Row)]
struct Counted {
    rows: i64,
}

/// What is wanted of things, as SQL.
struct Nested<'f> {
    /// Those of the things of the question in which the viewer may see something, as `thing(k)`.
    things: String,
    /// The condition on the rows of one of them.
    rows: String,
    filter: &'f RowFilter,
    /// The number of the next parameter.
    next: usize,
}

impl<'f> Nested<'f> {
    fn of<M: ReadModel>(viewer: &Viewer, as_of: AsOf, column: Column, filter: &'f RowFilter) -> Self {
        let asked = PARAMETERS + 1;
        let asked_for = format!("select distinct u.k from unnest(${asked}::uuid[]) u(k)");
        let wanted = filter.sql(asked + 1);
        let (things, seen) = match M::SCOPE {
            // Whoever may see the thing sees all in it: that is asked once for each thing.
            Scope::Within { column: own, parent }
                if own == column.name && !viewer.sees_everything() && filter.access().is_none() =>
            {
                let visible = scope::is_visible(parent, viewer, "u.k");
                (format!("({asked_for} where {visible})"), "true".to_owned())
            }
            _ => (format!("({asked_for})"), one_of::<M>(viewer, as_of, filter)),
        };
        Self {
            things: format!("{things} thing(k)"),
            rows: format!("({seen}){wanted}"),
            filter,
            next: asked + 1 + filter.count(),
        }
    }

    fn bind<'q>(&self, query: Query<'q>, viewer: &Viewer, things: &'q [Uuid]) -> Query<'q>
    where
        'f: 'q,
    {
        self.filter.bind(scope::bind(query, viewer).bind(things))
    }
}

fn grouped<R: Row>(rows: Vec<(String, R)>) -> Result<BTreeMap<Uuid, Vec<R>>, ReadError> {
    let mut groups: BTreeMap<Uuid, Vec<R>> = BTreeMap::new();
    for (thing, row) in rows {
        groups.entry(read(&thing)?).or_default().push(row);
    }
    Ok(groups)
}

fn read(thing: &str) -> Result<Uuid, ReadError> {
    thing.parse().map_err(|error: uuid::Error| {
        ReadError::Row(super::RowError {
            column: "k",
            reason: error.to_string(),
        })
    })
}
