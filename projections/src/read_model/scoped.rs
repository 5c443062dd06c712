//! The queries of all read models: one row, a page, a count.
//!
//! One rule: each takes who reads and as of when, so no read model can be read past its scope or without its past; and none
//! is read unless it, and what its scope goes by, follows the log.

use super::{
    Query, ReadError, ReadModel, RowError, RowFilter, Scope, Source, Viewer,
    reading::{count as count_rows, fetch_keyed, fetch_one, fetch_page},
    row::select_list,
    scope::{self, Condition, PARAMETERS, Same, TYPED},
    stored::text_of,
};
use crate::{
    history::AsOf,
    paging::{Column, Cursor, Page, PageRequest},
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
        "select {columns} from {table} t where t.{column} = $4::text::{kind} and ({seen})",
        columns = select_list::<M::Row>("t"),
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
        "select t.{column}::text, {columns} from {table} t \
         where t.{column} = any($4::text[]::{kind}[]) and ({seen})",
        columns = select_list::<M::Row>("t"),
        table = as_of.of::<M>(),
        column = M::KEY,
        kind = M::KEY_TYPE,
        seen = seen::<M>(viewer, as_of),
    );
    let query = scope::bind(as_of.query(statement), viewer).bind(keys);
    fetch_keyed(source.serving(&scope::needed::<M>(viewer))?, query).await
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
    super::fetch_json(source.serving(&scope::SHARED_NEEDS)?, query).await
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
    let statement = format!("{} {condition}", as_of.select::<M>());
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
    let seen = one_of::<M>(viewer, as_of, filter);
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
    fetch_page(
        source.serving(&scope::needed::<M>(viewer))?,
        Order::bind(query, page),
        page,
    )
    .await
}

/// Each condition of the scope walks its own index to the first rows that it has to give, so that a page costs the same
/// whatever others have.
fn statement<M: ReadModel>(viewer: &Viewer, as_of: AsOf, filter: &RowFilter, page: &PageRequest) -> String {
    let (rows, wanted) = (as_of.of::<M>(), filter.sql(PARAMETERS + 1));
    let order = Order::of::<M>(page, PARAMETERS + filter.count() + 1);
    let limit = order.limit;
    let among = |seen: &str, order: String| {
        format!("(select t.* from {rows} t where {seen}{wanted}{order} limit ${limit})")
    };
    let first = |seen: &str| among(seen, order.beyond());
    let first_of_same = |same: Same, seen: &str| among(seen, order.beyond_in(same));
    // One lookup for each key, however many rows there are.
    let first_of = |keys: &str, inside: &str| {
        format!(
            "(select t.* from (select distinct k from ({keys}) of (k)) keys cross join lateral {inside} t{order} \
             limit ${limit})",
            order = order.by(),
        )
    };
    let parts: Vec<String> = match M::SCOPE {
        Scope::Within { column, parent } if !viewer.sees_everything() && filter.access().is_none() => {
            let (things, value) = (scope::visible(parent, viewer), "keys.k");
            vec![first_of(&things, &first_of_same(Same { column, value }, "true"))]
        }
        _ => {
            let parts = parts::<M>(viewer, as_of, filter).into_iter();
            let each = parts.map(|Part { condition, but }| match (condition.keys, condition.same) {
                (Some(keys), _) => first_of(keys, &first(&format!("t.{} = keys.k{but}", M::KEY))),
                (None, Some(same)) => first_of_same(same, &format!("{TYPED}{but}")),
                (None, None) => first(&format!("({}){but}", condition.sql)),
            });
            each.collect()
        }
    };
    format!(
        "select {columns} from ({parts}) t{order} limit ${limit}",
        columns = select_list::<M::Row>("t"),
        parts = parts.join(" union all "),
        order = order.by(),
    )
}

/// Who reads: who asks why things are seen has no administrator's view of everything, by which none would be told apart.
pub(super) fn within(viewer: &Viewer, filter: &RowFilter) -> Viewer {
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
    text_of::<M>(row, column.name)?.ok_or_else(|| {
        let (column, reason) = (
            column.name,
            "a list is ordered by it, and it has no value".to_owned(),
        );
        ReadError::Row(RowError { column, reason })
    })
}

/// That one of the conditions holds, of those that `filter` leaves.
pub(super) fn one_of<M: ReadModel>(viewer: &Viewer, as_of: AsOf, filter: &RowFilter) -> String {
    let told_apart = |part: Part| format!("({}{})", part.condition.sql, part.but);
    let each = parts::<M>(viewer, as_of, filter).into_iter().map(told_apart);
    match filter.access() {
        Some(_) => each.collect::<Vec<_>>().join(" or "),
        None => seen::<M>(viewer, as_of),
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

/// The order of a page, and where it goes on. The key makes every order a total one.
pub(super) struct Order {
    /// The columns, the key last.
    columns: Vec<&'static str>,
    /// What the last row seen has in them, as SQL; empty for a first page.
    after: Vec<String>,
    ascending: bool,
    /// The number of the parameter that limits the page, which comes after those of the cursor.
    limit: usize,
}

impl Order {
    /// Of `page`, whose cursor has the parameters from number `first` on.
    pub(super) fn of<M: ReadModel>(page: &PageRequest, first: usize) -> Self {
        let key = (M::KEY, M::KEY_TYPE);
        let ordered: Vec<(&'static str, &'static str)> = page
            .order
            .iter()
            .map(|column| (column.name, column.kind))
            .chain([key])
            .collect();
        let after: Vec<String> = match page.after {
            Some(_) => (first..)
                .zip(&ordered)
                .map(|(number, (_, kind))| format!("${number}::text::{kind}"))
                .collect(),
            None => Vec::new(),
        };
        Self {
            columns: ordered.into_iter().map(|(name, _)| name).collect(),
            limit: first + after.len(),
            after,
            ascending: page.ascending,
        }
    }

    /// Binds what the last row seen has.
    pub(super) fn bind<'q>(query: Query<'q>, page: &'q PageRequest) -> Query<'q> {
        let Some(Cursor { key, value }) = &page.after else {
            return query;
        };
        match page.order {
            Some(_) => query.bind(value).bind(key),
            None => query.bind(key),
        }
    }

    /// The order.
    fn by(&self) -> String {
        self.sorted(&self.columns)
    }

    /// The same within each `group`.
    pub(super) fn by_after(&self, group: &str) -> String {
        format!(" order by {group}, {}", self.each(&self.columns))
    }

    /// The number of the parameter that limits the page.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    fn sorted(&self, columns: &[&str]) -> String {
        format!(" order by {}", self.each(columns))
    }

    fn each(&self, columns: &[&str]) -> String {
        let way = if self.ascending { "asc" } else { "desc" };
        let each = columns.iter().map(|name| format!("t.{name} {way}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// That the row of `columns` lies beyond `after`.
    fn than(&self, columns: &[&str], after: &[String]) -> String {
        let (than, names) = (
            if self.ascending { ">" } else { "<" },
            columns.iter().map(|name| format!("t.{name}")),
        );
        format!(
            "({}) {than} ({})",
            names.collect::<Vec<_>>().join(", "),
            after.join(", ")
        )
    }

    /// The condition of the cursor, and the order.
    fn beyond(&self) -> String {
        match self.after.is_empty() {
            true => self.by(),
            false => format!(" and {}{}", self.than(&self.columns, &self.after), self.by()),
        }
    }

    /// The same among rows that have one value in a column. It is written as a range: where PostgreSQL sees an equality it
    /// drops the column from the order, and may walk through the rows of everybody in the order of the key.
    pub(super) fn beyond_in(&self, Same { column, value }: Same) -> String {
        let columns = [&[column], self.columns.as_slice()].concat();
        let (from, to) = (
            if self.ascending { "<=" } else { ">=" },
            if self.ascending { ">=" } else { "<=" },
        );
        let until = match self.after.is_empty() {
            true => format!("t.{column} {to} {value}"),
            false => self.than(&columns, &[&[value.to_owned()], self.after.as_slice()].concat()),
        };
        format!(
            " and t.{column} {from} {value} and {until}{}",
            self.sorted(&columns)
        )
    }
}
