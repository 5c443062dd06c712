//! Rebuilds that were asked for: durable, and worked off in the background.
//!
//! The rule: a request is done once a rebuild that began after it has taken the live table's place. Several
//! requests that wait for one projection are one.

use sqlx::{PgConnection, PgPool};

/// Asks for rebuilds of these projections. They are worked off by a running system, in the background; one that
/// is being rebuilt now is rebuilt once more after that. Safe to call again.
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

/// The number of the newest request; 0 when there was none.
pub(super) async fn newest(connection: &mut PgConnection, name: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(max(requested), 0) from projection_request where name = $1")
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Notes that everything up to `number` is done.
pub(super) async fn done(connection: &mut PgConnection, name: &str, number: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update projection_request set done = greatest(done, $2) where name = $1")
        .bind(name)
        .bind(number)
        .execute(connection)
        .await?;
    Ok(())
}
