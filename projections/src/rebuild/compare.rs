//! Compares a shadow with the live table, row for row, at exactly one position.
//!
//! The rule: the live table and its checkpoint are read in one snapshot, and the shadow is folded to exactly that
//! checkpoint; so nothing has to stop for it. Both are read in the order of the key and merged; no more than a
//! row of each is in memory.

use std::cmp::Ordering;

use futures::{StreamExt as _, stream::BoxStream};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Row as _, postgres::PgRow};

use super::{
    RebuildError,
    comparison::{Comparison, Difference},
    connect,
    pass::{Pass, Running},
};
use crate::{
    position::position,
    read_model::{Described, Target},
};

/// The live tables as they were at one moment.
pub(super) struct Snapshot {
    live: PgConnection,
    shadow: PgConnection,
}

impl Snapshot {
    /// Takes the snapshot now.
    pub(super) async fn open(pool: &PgPool) -> Result<Self, RebuildError> {
        let (mut live, mut shadow) = (connect(pool).await?, connect(pool).await?);
        // The same text for the same value.
        for connection in [&mut live, &mut shadow] {
            sqlx::raw_sql("set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 1")
                .execute(connection)
                .await?;
        }
        // The snapshot is taken by the first query.
        sqlx::raw_sql(
            "begin isolation level repeatable read read only; select count(*) from projection_checkpoint",
        )
        .execute(&mut live)
        .await?;
        Ok(Self { live, shadow })
    }

    /// Folds the shadow to the position of the live table and compares. `None` when there is no live table that
    /// was ever folded, or the shadow failed.
    pub(super) async fn compare(
        &mut self,
        pass: &Pass<'_>,
        running: Running,
    ) -> Result<(Running, Option<Comparison>), RebuildError> {
        let at = sqlx::query_scalar::<_, i64>(
            "select position from projection_checkpoint where name = $1 and state <> 'building'",
        )
        .bind(running.projector.name())
        .fetch_optional(&mut self.live)
        .await?;
        let Some(at) = at.map(position) else {
            return Ok((running, None));
        };
        let running = pass.run_one(running, at).await?;
        if running.failed.is_some() || running.position != at {
            return Ok((running, None));
        }
        let mut comparison = Comparison {
            position: at,
            ..Comparison::default()
        };
        for table in running.projector.tables() {
            self.merge(table, &mut comparison).await?;
        }
        Ok((running, Some(comparison)))
    }

    async fn merge(&mut self, table: Described, comparison: &mut Comparison) -> Result<(), RebuildError> {
        let (live, shadow) = (query(table, Target::Live), query(table, Target::Shadow));
        let mut transaction = self.shadow.begin().await?;
        let mut live = rows(&mut self.live, &live);
        let mut shadow = rows(&mut transaction, &shadow);
        let (mut one, mut other) = (next(&mut live).await?, next(&mut shadow).await?);
        loop {
            let order = match (&one, &other) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => compare_keys(table, &one.0, &other.0),
            };
            match order {
                Ordering::Less => {
                    if let Some((key, _)) = one {
                        let table = table.name;
                        comparison.note(Difference::Surplus { table, key });
                    }
                    one = next(&mut live).await?;
                }
                Ordering::Greater => {
                    if let Some((key, _)) = other {
                        let table = table.name;
                        comparison.note(Difference::Missing { table, key });
                    }
                    other = next(&mut shadow).await?;
                }
                Ordering::Equal => {
                    if let (Some((key, left)), Some((_, right))) = (one, other) {
                        match left == right {
                            true => comparison.same += 1,
                            false => comparison.note(Difference::Different {
                                table: table.name,
                                key,
                                columns: columns(&left, &right),
                            }),
                        }
                    }
                    one = next(&mut live).await?;
                    other = next(&mut shadow).await?;
                }
            }
        }
        Ok(())
    }
}

fn query(table: Described, target: Target) -> String {
    // The order of bytes is the one that both sides of the merge agree on.
    let key = table.identity("");
    let order = match table.key_type == "text" || table.versions {
        true => format!("{key} collate \"C\""),
        false => key.clone(),
    };
    format!(
        "select {key}::text, to_jsonb(t)::text from {} t order by {order}",
        target.name(table.name)
    )
}

type Rows<'a> = BoxStream<'a, Result<PgRow, sqlx::Error>>;

fn rows<'a>(connection: &'a mut PgConnection, query: &str) -> Rows<'a> {
    sqlx::query(AssertSqlSafe(query.to_owned())).fetch(connection)
}

async fn next(rows: &mut Rows<'_>) -> Result<Option<(String, String)>, RebuildError> {
    match rows.next().await.transpose()? {
        Some(row) => Ok(Some((row.try_get(0)?, row.try_get(1)?))),
        None => Ok(None),
    }
}

/// Compares keys as PostgreSQL orders them.
fn compare_keys(table: Described, one: &str, other: &str) -> Ordering {
    match (table.key_type, one.parse::<i64>(), other.parse::<i64>()) {
        ("bigint" | "integer" | "smallint", Ok(one), Ok(other)) if !table.versions => one.cmp(&other),
        _ => one.cmp(other),
    }
}

/// The columns in which two rows differ.
fn columns(one: &str, other: &str) -> Vec<String> {
    let parse = |text| serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap_or_default();
    let (one, other) = (parse(one), parse(other));
    let mut names: Vec<String> = one
        .iter()
        .filter(|(name, value)| other.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    names.extend(other.keys().filter(|name| !one.contains_key(*name)).cloned());
    names
}
