//! Statements about tables.
//!
//! One rule: they are put together from names that PostgreSQL gave, never from what a user wrote.

use sqlx::{AssertSqlSafe, PgConnection};

/// Runs a statement that is put together from names.
pub(super) async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}
