//! Puts a shadow in place of the live table.
//!
//! The rule: one short transaction locks the live table, brings the shadow to the same position, exchanges the
//! tables and moves the checkpoint. It waits for the lock only so long that queries which queue behind it do not
//! notice; when somebody reads for longer, it lets go and tries again.

use std::time::Duration;

use domain::event_store::{Filter, Position};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::{
    RebuildError, connect,
    pass::{self, Pass, Running},
    requests, shadow,
};
use crate::{
    position::{position, stored},
    read_model::Target,
};

/// How long the lock is waited for; queries may queue behind for as long.
const LOCK_WITHIN: Duration = Duration::from_millis(150);
/// How long it is waited for that autovacuum leaves the table; queries go on meanwhile.
const ALONE_WITHIN: Duration = Duration::from_secs(5);
/// Events that are folded at most while the live table is locked.
const LOCKED_PAGE: usize = 2_000;
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a try ended.
enum SwapOutcome {
    Swapped(Position),
    /// Somebody reads or writes for longer than we wait.
    Busy,
    /// The shadow is too far behind to be brought up under the lock.
    Behind,
}

/// Swaps; tries until it comes about. Returns the position of the table that is live now.
pub(super) async fn swap(pass: &Pass<'_>, running: Running) -> Result<Position, RebuildError> {
    let mut connection = connect(pass.pool).await?;
    let mut alone = vec![running];
    let mut pause = Duration::from_millis(20);
    loop {
        let head = pass.store.head().await?;
        pass.run(&mut alone, head, &|_| ()).await?;
        let Some(running) = alone.first_mut() else {
            return Err(RebuildError::Interrupted);
        };
        if let Some(failure) = running.failure() {
            return Err(failure);
        }
        match attempt(&mut connection, pass, running).await? {
            SwapOutcome::Swapped(position) => return Ok(position),
            SwapOutcome::Behind => {}
            SwapOutcome::Busy => {
                // What was folded in the transaction that ended is not written: begin from what is.
                let at = written(&mut connection, running).await?;
                running.builder = running.projector.builder(Target::Shadow, at == Position::START);
                running.position = at;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn written(connection: &mut PgConnection, running: &Running) -> Result<Position, RebuildError> {
    let at = sqlx::query_scalar::<_, i64>("select position from projection_rebuild where name = $1")
        .bind(running.projector.name())
        .fetch_one(connection)
        .await?;
    Ok(position(at))
}

/// Whether a lock was not had in time, or was about to deadlock.
fn is_busy(error: &RebuildError) -> bool {
    let RebuildError::Database(error) = error else {
        return false;
    };
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| ["55P03", "40P01"].contains(&code.as_ref()))
}

async fn attempt(
    connection: &mut PgConnection,
    pass: &Pass<'_>,
    running: &mut Running,
) -> Result<SwapOutcome, RebuildError> {
    let mut transaction = connection.begin().await?;
    match exchange(&mut transaction, pass, running).await {
        Ok(SwapOutcome::Swapped(position)) => {
            fail::fail_point!("rebuild.before_swap");
            transaction.commit().await?;
            fail::fail_point!("rebuild.swapped");
            Ok(SwapOutcome::Swapped(position))
        }
        Ok(other) => {
            transaction.rollback().await?;
            Ok(other)
        }
        Err(error) if is_busy(&error) => {
            transaction.rollback().await?;
            Ok(SwapOutcome::Busy)
        }
        Err(error) => Err(error),
    }
}

async fn exchange(
    transaction: &mut PgConnection,
    pass: &Pass<'_>,
    running: &mut Running,
) -> Result<SwapOutcome, RebuildError> {
    let (name, tables) = (running.projector.name(), running.projector.tables());
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    // Autovacuum gives way to who waits for its lock longer than it takes to look for a deadlock; nobody else waits for
    // this first lock, and none begins while it is held.
    let lock = format!(
        "set local lock_timeout = {alone}; lock table {names} in share update exclusive mode;
         set local lock_timeout = {within}; lock table {names} in access exclusive mode",
        alone = ALONE_WITHIN.as_millis(),
        within = LOCK_WITHIN.as_millis(),
        names = names.join(", "),
    );
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut *transaction)
        .await?;
    let live = sqlx::query("select position from projection_checkpoint where name = $1 for update")
        .bind(name)
        .fetch_optional(&mut *transaction)
        .await?;
    let live = match live {
        Some(row) => position(row.try_get(0)?),
        None => Position::START,
    };
    if running.position < live {
        let page = pass
            .store
            .read_all(running.position, &Filter::all(), LOCKED_PAGE)
            .await?;
        if page.next < live {
            return Ok(SwapOutcome::Behind);
        }
        pass::fold_locked(&mut *transaction, pass.lease, running, &page, live).await?;
    }
    for table in tables {
        shadow::replace(&mut *transaction, table).await?;
    }
    conclude(&mut *transaction, running).await?;
    match pass.lease.renew(transaction).await? {
        true => Ok(SwapOutcome::Swapped(running.position)),
        false => Err(RebuildError::Deposed),
    }
}

/// Moves the checkpoint of the live table to the shadow's, and ends the rebuild.
async fn conclude(transaction: &mut PgConnection, running: &Running) -> Result<(), RebuildError> {
    let name = running.projector.name();
    sqlx::query(
        "insert into projection_checkpoint (name, version, position) values ($1, $2, $3)
         on conflict (name) do update set version = excluded.version, position = excluded.position,
             generation = projection_checkpoint.generation + 1, state = 'live',
             failed_position = null, failure = null, failing_since = null",
    )
    .bind(name)
    .bind(running.projector.version())
    .bind(stored(running.position))
    .execute(&mut *transaction)
    .await?;
    let request =
        sqlx::query_scalar::<_, i64>("delete from projection_rebuild where name = $1 returning request")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await?;
    Ok(requests::done(transaction, name, request).await?)
}
