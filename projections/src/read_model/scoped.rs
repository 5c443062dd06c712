//! The queries of all read models: one row, a page, a count.
//!
//! One rule: each takes who reads and as of when, so no read model can be read past its scope or without its past; and none
//! is read unless it, and what its scope goes by, follows the log.

use super::{
    Query, ReadError, ReadModel, RowFilter, Scope, Source, Viewer,
    reading::{count as count_rows, fetch_one, fetch_page},
    scope::{self, Condition, PARAMETERS},
};
use crate::{
    history::AsOf,
    paging::{Column, Page, PageRequest},
};

/// The row under `key`, if `viewer` may see it.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn find<M: ReadModel>(
    source: &impl Source,
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
    fetch_one(source.serving(&scope::needed::<M>(viewer))?, query).await
}

/// The rows under `keys` that `viewer` may see, with their keys, in no particular order.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn find_many<M: ReadModel>(
    source: &impl Source,
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
    super::fetch(source.serving(&scope::needed::<M>(viewer))?, query).await
}

/// Those of `things` that `viewer` has a part in by an access list.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn shared_with(
    source: &impl Source,
    viewer: &Viewer,
    things: &[uuid::Uuid],
) -> Result<Vec<uuid::Uuid>, ReadError> {
    let statement = format!(
        "select to_jsonb(k)::text from unnest($4::uuid[]) k where k in ({})",
        scope::SHARED
    );
    let query = scope::bind(AsOf::Now.query(statement), &viewer.by_itself()).bind(things);
    super::fetch(source.serving(&scope::SHARED_NEEDS)?, query).await
}

/// The rows of `M` by a condition and order of the query's own, with its parameters from `$1`. For what is no client's to
/// read by scope: who is shown them is decided by who asks for them.
///
/// # Errors
/// When the database fails, or `M` does not follow the log.
pub(crate) async fn rows<M: ReadModel>(
    source: &impl Source,
    as_of: AsOf,
    condition: &str,
    bind: impl for<'q> FnOnce(Query<'q>) -> Query<'q>,
) -> Result<Vec<M::Row>, ReadError> {
    let statement = format!("select to_jsonb(t)::text from {} t {condition}", as_of.of::<M>());
    super::fetch(source.serving(&[M::NAME])?, bind(as_of.query(statement))).await
}

/// How many rows of `filter` there are that `viewer` may see.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn count<M: ReadModel>(
    source: &impl Source,
    viewer: &Viewer,
    as_of: AsOf,
    filter: &RowFilter,
) -> Result<i64, ReadError> {
    let viewer = &within(viewer, filter);
    let told_apart = |part: Part| format!("({}{})", part.condition.sql, part.but);
    let each = parts::<M>(viewer, as_of, filter).into_iter().map(told_apart);
    let seen = match filter.access() {
        Some(_) => each.collect::<Vec<_>>().join(" or "),
        None => seen::<M>(viewer, as_of),
    };
    let statement = format!(
        "select count(*) from {table} t where ({seen}){wanted}",
        table = as_of.of::<M>(),
        wanted = filter.sql(PARAMETERS + 1),
    );
    let query = filter.bind(scope::bind(as_of.query(statement), viewer));
    count_rows(source.serving(&scope::needed::<M>(viewer))?, query).await
}

/// A page of the rows of `filter` that `viewer` may see, in the order of the page.
///
/// # Errors
/// When the database fails, or a read model that is needed does not follow the log.
pub async fn page<M: ReadModel>(
    source: &impl Source,
    viewer: &Viewer,
    as_of: AsOf,
    filter: &RowFilter,
    page: &PageRequest,
) -> Result<Page<M::Row>, ReadError> {
    let viewer = &within(viewer, filter);
    let statement = statement::<M>(viewer, as_of, filter, page);
    let query: Query<'_> = filter.bind(scope::bind(as_of.query(statement), viewer));
    let after = page.after.as_ref();
    let query = query.bind(after.map(|after| &after.key));
    let query = query.bind(after.and_then(|after| after.value.as_ref()));
    fetch_page(source.serving(&scope::needed::<M>(viewer))?, query, page).await
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
        Scope::Within { column, parent } if !viewer.sees_everything() && filter.access().is_none() => {
            let things = scope::visible(parent, viewer);
            vec![first_of(&things, &first(&format!("t.{column} = keys.k")))]
        }
        _ => {
            let parts = parts::<M>(viewer, as_of, filter).into_iter();
            let each = parts.map(|Part { condition, but }| match condition.keys {
                Some(keys) => first_of(keys, &first(&format!("t.{} = keys.k{but}", M::KEY))),
                None => first(&format!("({}){but}", condition.sql)),
            });
            each.collect()
        }
    };
    format!(
        "select to_jsonb(t)::text from ({parts}) t{order} limit ${limit}",
        parts = parts.join(" union all "),
        order = ordering_only::<M>(page),
    )
}

/// Who reads: who asks why things are seen has no administrator's view of everything, by which none would be told apart.
fn within(viewer: &Viewer, filter: &RowFilter) -> Viewer {
    match filter.access() {
        Some(_) => viewer.by_itself(),
        None => viewer.clone(),
    }
}

/// Rows that are seen by one condition, and by none before it.
struct Part {
    condition: Condition,
    /// That none before it holds.
    but: String,
}

/// The rows that `viewer` sees, without those that `filter` leaves out by the reason why they are seen.
fn parts<M: ReadModel>(viewer: &Viewer, as_of: AsOf, filter: &RowFilter) -> Vec<Part> {
    let (mut parts, mut earlier) = (Vec::new(), String::new());
    for condition in scope::conditions::<M>(viewer, as_of != AsOf::Now) {
        let but = earlier.clone();
        earlier.push_str(&format!(" and not {}", whole(&condition.sql)));
        let wanted = filter
            .access()
            .is_none_or(|access| condition.access == Some(access));
        let condition = match wanted {
            true => condition,
            false => Condition::from(format!("({}) and false", condition.sql)),
        };
        parts.push(Part { condition, but });
    }
    parts
}

/// What `row` has in `column`, as a cursor holds it.
///
/// # Errors
/// When it has nothing there, which is a defect: lists are ordered by columns that always have a value.
pub fn value_of<M: ReadModel>(row: &M::Row, column: Column) -> Result<String, ReadError> {
    let row = serde_json::to_value(row)?;
    match row.get(column.name) {
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(number @ serde_json::Value::Number(_)) => Ok(number.to_string()),
        _ => Err(ReadError::Row(serde::de::Error::custom(format!(
            "{} has no value in {}",
            M::TABLE,
            column.name
        )))),
    }
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
