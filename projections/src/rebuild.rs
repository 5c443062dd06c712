//! Rebuilds that were asked for: durable, and worked off by whoever leads the projections.
//!
//! The rule: a request is done once a rebuild that began after it is folded. Several requests that wait for one
//! projection are one.

use sqlx::{PgConnection, PgPool};

/// Asks for rebuilds of these projections. They are worked off by a running system. Safe to call again.
///
/// # Errors
/// When the database fails; then nothing was asked for.
pub async fn request(pool: &PgPool, names: &[&str]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into projection_request (name, requested) select distinct name, 1 from unnest($1::text[]) name
         on conflict (name) do update set requested = projection_request.requested + 1",
    )
    .bind(names)
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether everything that was asked for up to now for these projections is done.
///
/// # Errors
/// When the database fails.
pub async fn finished(pool: &PgPool, names: &[&str]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select not exists (select from projection_request where name = any($1) and requested > done)",
    )
    .bind(names)
    .fetch_one(pool)
    .await
}

/// Names of the projections that wait for a rebuild.
pub(crate) async fn waiting(connection: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("select name, requested from projection_request where requested > done")
        .fetch_all(connection)
        .await
}

/// Notes that everything up to `number` is done.
pub(crate) async fn done(connection: &mut PgConnection, name: &str, number: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update projection_request set done = greatest(done, $2) where name = $1")
        .bind(name)
        .bind(number)
        .execute(connection)
        .await?;
    Ok(())
}
