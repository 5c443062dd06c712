//! Rows between memory and their table.
//!
//! The rule: rows travel as JSON objects with one field per column, and PostgreSQL gives the values their types.
//! A key in memory is spelled as its column spells it, so that a row is the same one before and after its travel.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{ProjectError, ReadModel};

/// Why a row does not fit, without quoting it where it may be personal.
pub(super) fn misfit<M: ReadModel>(error: &serde_json::Error) -> ProjectError {
    ProjectError::Row {
        table: M::TABLE,
        reason: match M::PERSONAL {
            true => format!("it does not fit at column {} of its JSON", error.column()),
            false => error.to_string(),
        },
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
        "select {key}::text, to_jsonb(t)::text from {table} t where {key} = any($1::text[]::{kind}[])",
        key = M::KEY,
        kind = M::KEY_TYPE,
    );
    let found = sqlx::query(AssertSqlSafe(statement))
        .bind(&keys)
        .fetch_all(connection)
        .await?;
    let mut rows = HashMap::with_capacity(found.len());
    for row in found {
        let (key, json): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        rows.insert(
            key,
            serde_json::from_str(&json).map_err(|error| misfit::<M>(&error))?,
        );
    }
    Ok(rows)
}

/// Writes rows into `table`, in place of those with the same keys.
pub(super) async fn save<M: ReadModel>(
    connection: &mut PgConnection,
    table: &str,
    rows: &[&M::Row],
) -> Result<(), ProjectError> {
    let Some((statement, json)) = upsert::<M>(table, rows)? else {
        return Ok(());
    };
    sqlx::query(AssertSqlSafe(statement))
        .bind(json)
        .execute(connection)
        .await?;
    Ok(())
}

/// The statement that does so, and its parameter; `None` without rows.
pub(super) fn upsert<M: ReadModel>(
    table: &str,
    rows: &[&M::Row],
) -> Result<Option<(String, String)>, ProjectError> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let shape = serde_json::to_value(first).map_err(|error| misfit::<M>(&error))?;
    let columns: Vec<&str> = shape
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let list = columns.join(", ");
    let updates: Vec<String> = columns
        .iter()
        .filter(|column| **column != M::KEY)
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let statement = format!(
        "insert into {table} ({list}) select {list} from jsonb_populate_recordset(null::{table}, $1::jsonb) \
         on conflict ({key}) do update set {updates}",
        key = M::KEY,
        updates = updates.join(", "),
    );
    let json = serde_json::to_string(rows).map_err(|error| misfit::<M>(&error))?;
    Ok(Some((statement, without_nul(json))))
}

/// PostgreSQL's `jsonb` and `text` cannot hold the character NUL, which JSON writes as `\\u0000`: read models
/// show the replacement character instead. The log keeps what was recorded.
pub(crate) fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find(NUL) {
        let (before, after) = rest.split_at(at);
        // An odd number of backslashes before makes this one a literal backslash.
        let escaped = before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        clean.push_str(before);
        clean.push_str(if escaped { NUL } else { "\\ufffd" });
        rest = &after[NUL.len()..];
    }
    clean.push_str(rest);
    clean
}

/// A key, or another text, as it comes back from the database; see [`without_nul`].
pub(crate) fn as_stored(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{as_stored, without_nul};

    #[test]
    fn only_a_real_nul_is_replaced() {
        let text = "a\u{0}b\\u0000c".to_owned();
        let json = serde_json::to_string(&text).expect("text is JSON");
        let back: String = serde_json::from_str(&without_nul(json)).expect("still JSON");
        assert_eq!(back, "a\u{fffd}b\\u0000c");
    }

    #[test]
    fn a_key_is_what_its_column_holds() {
        let key = "a\u{0}b\\u0000c";
        let json = serde_json::to_string(key).expect("text is JSON");
        let column: String = serde_json::from_str(&without_nul(json)).expect("still JSON");
        assert_eq!(as_stored(key), column);
    }
}
