//! Rows between memory and their table.
//!
//! One rule: a key in memory is spelled as its column spells it, so that a row is the same one before and after its travel.

use std::collections::{BTreeSet, HashMap};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    ProjectError, ReadModel, Statement, Values,
    column::Kind,
    row::{Row as _, RowError, Tuple, place, select_list},
    statement,
};

/// Why a row of `M` does not fit.
pub(super) fn misfit<M: ReadModel>(error: &RowError) -> ProjectError {
    ProjectError::Row {
        table: M::TABLE,
        reason: error.to_string(),
    }
}

/// The rows of `table` that have these keys.
pub(super) async fn load<M: ReadModel>(
    connection: &mut PgConnection,
    table: &str,
    keys: &BTreeSet<String>,
) -> Result<HashMap<String, M::Row>, ProjectError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // The keys take on the column's type, not the column the keys': so the index is used.
    let statement = format!(
        "select {key}::text, {columns} from {table} t where {key} = any($1::text[]::{kind}[])",
        key = M::KEY,
        columns = select_list::<M::Row>("t"),
        kind = M::KEY_TYPE,
    );
    let found = sqlx::query(AssertSqlSafe(statement))
        .bind(&keys)
        .fetch_all(connection)
        .await?;
    let mut rows = HashMap::with_capacity(found.len());
    for row in &found {
        let read = M::Row::decode(&mut Values::of(row, 1)).map_err(|error| misfit::<M>(&error))?;
        rows.insert(row.try_get(0)?, read);
    }
    Ok(rows)
}

/// The names of the columns of `M`.
pub(super) fn columns<M: ReadModel>() -> String {
    let names: Vec<&str> = M::Row::COLUMNS.iter().map(|column| column.name).collect();
    names.join(", ")
}

/// Writes rows into `table`, in place of those with the same keys, of which no two have the same.
pub(super) fn upsert<'t, M: ReadModel>(table: &str, rows: impl Iterator<Item = &'t Tuple>) -> Statement {
    let kinds: Vec<Kind> = M::Row::COLUMNS.iter().map(|column| column.kind).collect();
    let updates: Vec<String> = M::Row::COLUMNS
        .iter()
        .filter(|column| column.name != M::KEY)
        .map(|column| format!("{name} = excluded.{name}", name = column.name))
        .collect();
    let sql = format!(
        "insert into {table} ({names}) select {values} on conflict ({key}) do update set {updates}",
        names = columns::<M>(),
        values = statement::unnested(&kinds),
        key = M::KEY,
        updates = updates.join(", "),
    );
    let mut statement = Statement::new(M::TABLE, sql, statement::arrays(&kinds, rows));
    statement.needs_key = Some(table.to_owned());
    statement
}

/// What `row` has in the column `name`, as text; `None` for NULL, and for columns that nothing is ordered by.
pub(super) fn text_of<M: ReadModel>(row: &M::Row, name: &str) -> Result<Option<String>, RowError> {
    let tuple = Tuple::of(row)?;
    let text = place::<M::Row>(name).and_then(|place| {
        let kind = M::Row::COLUMNS.get(place)?.kind;
        kind.spell(tuple.get(place)?)
    });
    Ok(text)
}
