//! What a question to the database costs: rows read, however many there are.
//!
//! One rule: rows are counted, not time, so that a measurement says the same on every machine.

use sqlx::{AssertSqlSafe, PgPool, Row as _};

/// Makes many rows of one that is there: `over` says what differs, as a `jsonb_build_object` of the series `i`.
///
/// # Panics
/// When the database refuses.
pub async fn fill(pool: &PgPool, table: &str, count: u32, over: &str) {
    let statement = format!(
        "insert into {table} select (jsonb_populate_record(s.one, jsonb_build_object({over}))).* \
         from (select t from {table} t limit 1) s(one), generate_series(1, {count}) i"
    );
    // The deadline of a statement is for what people wait for.
    let mut connection = pool.acquire().await.expect("a connection");
    for statement in ["set statement_timeout = 0", &statement, "reset statement_timeout"] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *connection)
            .await
            .expect("filled");
    }
}

/// Of each of `tables` that was read from one end to the other: how often; and rows read from all, since their beginning.
async fn read_so_far(pool: &PgPool, tables: &[&str]) -> (Vec<(String, i64)>, i64) {
    sqlx::query("select pg_stat_force_next_flush()")
        .execute(pool)
        .await
        .expect("flushed");
    let query = sqlx::query(
        "select relname::text, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) \
         from pg_stat_user_tables where relname = any($1) order by relname",
    );
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    let rows = query.bind(tables).fetch_all(pool).await.expect("counted");
    let scans = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    (scans, rows.iter().map(|row| row.get::<i64, _>(2)).sum())
}

/// Rows of `tables` that `question` reads; it may scan none of them. `pool` has one connection, so that what it read is
/// counted before the next question.
///
/// # Panics
/// When a table was read from one end to the other.
pub async fn cost<A>(
    pool: &PgPool,
    tables: &[&str],
    what: &str,
    question: impl Future<Output = A>,
) -> (A, i64) {
    let before = read_so_far(pool, tables).await;
    let answer = question.await;
    let after = read_so_far(pool, tables).await;
    assert_eq!(
        after.0, before.0,
        "{what}: no table is read from one end to the other"
    );
    (answer, after.1 - before.1)
}
