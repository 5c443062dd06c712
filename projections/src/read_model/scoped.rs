//! The queries of all read models: one row, a page, a count.
//!
//! One rule: each takes who reads and as of when, so no read model can be read past its scope or without its past.

use sqlx::PgPool;

use super::{
    Query, ReadError, ReadModel, RowFilter, Scope, Viewer,
    reading::{count as count_rows, fetch_one, fetch_page},
    scope::{self, PARAMETERS},
};
use crate::{
    history::AsOf,
    paging::{Column, Page, PageRequest},
};

/// The row under `key`, if `viewer` may see it.
///
/// # Errors
/// When the database fails.
pub async fn find<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    as_of: AsOf,
    key: impl std::fmt::Display + Send,
) -> Result<Option<M::Row>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {table} t where t.{column} = $4::text::{kind} and ({seen})",
        table = as_of.of::<M>(),
        column = M::KEY,
        kind = M::KEY_TYPE,
        seen = seen::<M>(viewer, as_of),
    );
    let query = scope::bind(as_of.query(statement), viewer).bind(key.to_string());
    fetch_one(pool, query).await
}

/// The rows under `keys` that `viewer` may see, with their keys, in no particular order.
///
/// # Errors
/// When the database fails.
pub async fn find_many<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    as_of: AsOf,
    keys: &[String],
) -> Result<Vec<(String, M::Row)>, ReadError> {
    let statement = format!(
        "select jsonb_build_array(t.{column}::text, to_jsonb(t))::text from {table} t where t.{column} = any($4::text[]::{kind}[]) and ({seen})",
        table = as_of.of::<M>(),
        column = M::KEY,
        kind = M::KEY_TYPE,
        seen = seen::<M>(viewer, as_of),
    );
    let query = scope::bind(as_of.query(statement), viewer).bind(keys);
    super::fetch(pool, query).await
}

/// Those of `things` that `viewer` has a part in by an access list.
///
/// # Errors
/// When the database fails.
pub async fn shared_with(
    pool: &PgPool,
    viewer: &Viewer,
    things: &[uuid::Uuid],
) -> Result<Vec<uuid::Uuid>, ReadError> {
    let statement = format!(
        "select to_jsonb(k)::text from unnest($4::uuid[]) k where k in ({})",
        scope::SHARED
    );
    let query = scope::bind_user(AsOf::Now.query(statement), viewer).bind(things);
    super::fetch(pool, query).await
}

/// How many rows of `filter` there are that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn count<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    as_of: AsOf,
    filter: &RowFilter,
) -> Result<i64, ReadError> {
    let statement = format!(
        "select count(*) from {table} t where ({seen}){wanted}",
        table = as_of.of::<M>(),
        seen = seen::<M>(viewer, as_of),
        wanted = filter.sql(PARAMETERS + 1),
    );
    let query = filter.bind(scope::bind(as_of.query(statement), viewer));
    count_rows(pool, query).await
}

/// A page of the rows of `filter` that `viewer` may see, in the order of the page.
///
/// # Errors
/// When the database fails.
pub async fn page<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    as_of: AsOf,
    filter: &RowFilter,
    page: &PageRequest,
) -> Result<Page<M::Row>, ReadError> {
    let statement = statement::<M>(viewer, as_of, filter, page);
    let query: Query<'_> = filter.bind(scope::bind(as_of.query(statement), viewer));
    let after = page.after.as_ref();
    let query = query.bind(after.map(|after| &after.key));
    let query = query.bind(after.and_then(|after| after.value.as_ref()));
    fetch_page(pool, query, page).await
}

/// Each condition of the scope walks its own index to the first rows that it has to give, so that a page costs the same
/// whatever others have.
fn statement<M: ReadModel>(viewer: &Viewer, as_of: AsOf, filter: &RowFilter, page: &PageRequest) -> String {
    let (rows, wanted) = (as_of.of::<M>(), filter.sql(PARAMETERS + 1));
    let key = PARAMETERS + filter.count() + 1;
    let (order, limit) = (ordering::<M>(page, key), key + 2);
    let first = |seen: &str| format!("(select t.* from {rows} t where {seen}{wanted}{order} limit ${limit})");
    // One lookup for each key, however many rows there are.
    let first_of = |keys: &str, inside: &str| {
        format!(
            "(select t.* from (select distinct k from ({keys}) of (k)) keys cross join lateral {inside} t{order} \
             limit ${limit})",
            order = ordering_only::<M>(page),
        )
    };
    let parts: Vec<String> = match M::SCOPE {
        Scope::Within { column, parent } if !viewer.sees_everything() => {
            let things = scope::visible(parent, viewer);
            vec![first_of(&things, &first(&format!("t.{column} = keys.k")))]
        }
        _ => {
            let conditions = scope::conditions::<M>(viewer, as_of != AsOf::Now);
            let disjoint = conditions.iter().enumerate().map(|(index, condition)| {
                let earlier = conditions[..index].iter();
                let but: String = earlier
                    .map(|one| format!(" and not {}", whole(&one.sql)))
                    .collect();
                match condition.keys {
                    Some(keys) => first_of(keys, &first(&format!("t.{} = keys.k{but}", M::KEY))),
                    None => first(&format!("({}){but}", condition.sql)),
                }
            });
            disjoint.collect()
        }
    };
    format!(
        "select to_jsonb(t)::text from ({parts}) t{order} limit ${limit}",
        parts = parts.join(" union all "),
        order = ordering_only::<M>(page),
    )
}

/// That one of the conditions holds.
fn seen<M: ReadModel>(viewer: &Viewer, as_of: AsOf) -> String {
    let conditions = scope::conditions::<M>(viewer, as_of != AsOf::Now);
    let each: Vec<String> = conditions.into_iter().map(|condition| condition.sql).collect();
    each.join(" or ")
}

/// A condition that is false where it is unknown, so that its negation is true there.
fn whole(condition: &str) -> String {
    format!("(({condition}) is true)")
}

/// The condition of the cursor and the order. The key makes every order a total one.
fn ordering<M: ReadModel>(page: &PageRequest, parameter: usize) -> String {
    let (key, kind) = (M::KEY, M::KEY_TYPE);
    let (than, value) = (if page.ascending { ">" } else { "<" }, parameter + 1);
    let beyond = match page.order {
        None => format!("t.{key} {than} ${parameter}::text::{kind} and ${value}::text is null"),
        Some(Column { name, kind: of }) => {
            format!("(t.{name}, t.{key}) {than} (${value}::text::{of}, ${parameter}::text::{kind})")
        }
    };
    format!(
        " and (${parameter}::text is null or ({beyond})){}",
        ordering_only::<M>(page)
    )
}

fn ordering_only<M: ReadModel>(page: &PageRequest) -> String {
    let (key, way) = (M::KEY, if page.ascending { "asc" } else { "desc" });
    match page.order {
        None => format!(" order by t.{key} {way}"),
        Some(Column { name, .. }) => format!(" order by t.{name} {way}, t.{key} {way}"),
    }
}
