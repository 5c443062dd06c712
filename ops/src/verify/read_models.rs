//! Read models against a fold of the log into copies of their tables.
//!
//! The rule: the copies are temporary tables, which this one connection sees in place of the real ones, in a
//! transaction that is always rolled back. The projections themselves do the folding, from nothing.

use std::collections::BTreeMap;

use domain::{
    event_store::{EventStore, Filter, Position, RecordedEvent, StoreError},
    id::JobId,
};
use projections::read_model::Projector;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Row as _};

use super::{Invariant, PAGE, Report, log::patient, log_state::LeaseRow};

/// Rows that differ and are told.
const EXAMPLES: usize = 3;
/// Characters of such a row.
const SHOWN: usize = 300;

/// A projection, and what its tables are called.
struct Compared {
    projector: Box<dyn Projector>,
    /// Where it stands.
    checkpoint: Position,
    tables: Vec<String>,
    /// What kept it from being folded.
    stopped: Option<String>,
}

/// The table of leases.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn leases(pool: &PgPool) -> anyhow::Result<Vec<LeaseRow>> {
    let rows = sqlx::query("select job_id, attempt from jobs_lease")
        .fetch_all(pool)
        .await?;
    let read = |row: &sqlx::postgres::PgRow| -> anyhow::Result<LeaseRow> {
        Ok(LeaseRow {
            job: JobId(row.try_get(0)?),
            attempt: u32::try_from(row.try_get::<i32, _>(1)?)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Folds every read model anew, up to where it stands, and compares row for row.
///
/// # Errors
/// When the database or the log cannot be read.
pub(super) async fn compare(
    pool: &PgPool,
    store: &dyn EventStore,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?.detach();
    patient(&mut connection).await?;
    let mut transaction = connection.begin().await?;
    // Checkpoints and rows of one moment, while the system goes on.
    sqlx::raw_sql("set transaction isolation level repeatable read")
        .execute(&mut *transaction)
        .await?;
    let mut compared = prepare(&mut transaction, store.head().await?, report).await?;
    for one in &compared {
        for table in &one.tables {
            copy(&mut transaction, table).await?;
        }
    }
    if fold(&mut transaction, store, &mut compared, report).await? {
        for one in &compared {
            match &one.stopped {
                Some(why) => {
                    let what = format!("{} cannot be folded: {why}", one.projector.name());
                    report.fault(Invariant::ReadModels, what);
                }
                None => differences(&mut transaction, one, report).await?,
            }
        }
        report.done(Invariant::ReadModels);
    }
    transaction.rollback().await?;
    connection.close().await?;
    Ok(())
}

/// Where a projection stands, as its row says.
#[derive(Clone, Default)]
struct Checkpoint {
    version: i32,
    position: u64,
    /// Its table is not complete yet.
    building: bool,
    /// The event that it cannot get past.
    failed: Option<i64>,
}

async fn checkpoints(connection: &mut PgConnection) -> anyhow::Result<BTreeMap<String, Checkpoint>> {
    let rows = sqlx::query(
        "select name, version, position, state = 'building',
                case when state = 'stopped' then failed_position end
         from projection_checkpoint",
    )
    .fetch_all(connection)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| -> anyhow::Result<(String, Checkpoint)> {
        let checkpoint = Checkpoint {
            version: row.try_get(1)?,
            position: u64::try_from(row.try_get::<i64, _>(2)?)?,
            building: row.try_get(3)?,
            failed: row.try_get(4)?,
        };
        Ok((row.try_get(0)?, checkpoint))
    };
    rows.iter().map(read).collect()
}

/// Which projections can be compared, and where they stand.
async fn prepare(
    connection: &mut PgConnection,
    head: Position,
    report: &mut Report,
) -> anyhow::Result<Vec<Compared>> {
    let checkpoints = checkpoints(connection).await?;
    let mut compared = Vec::new();
    for projector in projections::all() {
        let name = projector.name();
        let checkpoint = checkpoints.get(name).cloned().unwrap_or_default();
        let (version, position) = (checkpoint.version, checkpoint.position);
        if let Some(failed) = checkpoint.failed {
            let what = format!("{name} is stopped: it cannot fold the event at position {failed}");
            report.fault(Invariant::ReadModels, what);
        }
        if checkpoint.building || version != projector.version() {
            let what = format!("{name} is being folded anew; its table is not compared");
            report.note(Invariant::ReadModels, what);
            continue;
        }
        if position > head.0 {
            let what = format!("{name} stands at position {position}, the log ends at {head}");
            report.fault(Invariant::ReadModels, what);
            continue;
        }
        if position < head.0 {
            let what = format!("{name} stands at position {position} of {head}");
            report.note(Invariant::ReadModels, what);
        }
        let tables = projector
            .tables()
            .iter()
            .map(|table| table.name.to_owned())
            .collect();
        compared.push(Compared {
            projector,
            checkpoint: Position(position),
            tables,
            stopped: None,
        });
    }
    Ok(compared)
}

/// Puts an empty table of the same shape in front of a real one, for this transaction.
async fn copy(connection: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
    let statement =
        format!("create temporary table \"{table}\" (like \"{table}\" including all) on commit drop");
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Folds the log into the copies. `false`: the log could not be read to the end, which others have told.
async fn fold(
    connection: &mut PgConnection,
    store: &dyn EventStore,
    compared: &mut [Compared],
    report: &mut Report,
) -> anyhow::Result<bool> {
    let end = compared
        .iter()
        .map(|one| one.checkpoint)
        .max()
        .unwrap_or_default();
    let mut after = Position::START;
    while after < end {
        let page = match store.read_all(after, &Filter::all(), PAGE).await {
            Ok(page) => page,
            Err(StoreError::Corrupt(what)) => {
                report.note(Invariant::ReadModels, format!("not compared: {what}"));
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        for one in compared.iter_mut().filter(|one| one.stopped.is_none()) {
            let wanted: Vec<&RecordedEvent> = page
                .events
                .iter()
                .filter(|event| event.position <= one.checkpoint && one.projector.wants(event))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let mut savepoint = connection.begin().await?;
            match one.projector.apply(&mut savepoint, &wanted).await {
                Ok(()) => savepoint.commit().await?,
                Err(error) => {
                    savepoint.rollback().await?;
                    one.stopped = Some(error.to_string());
                }
            }
        }
        after = page.next;
    }
    Ok(true)
}

async fn differences(
    connection: &mut PgConnection,
    one: &Compared,
    report: &mut Report,
) -> anyhow::Result<()> {
    let schema: String = sqlx::query_scalar("select current_schema()::text")
        .fetch_one(&mut *connection)
        .await?;
    for table in &one.tables {
        let real = format!("select to_jsonb(t)::text as it from \"{schema}\".\"{table}\" t");
        let folded = format!("select to_jsonb(t)::text as it from pg_temp.\"{table}\" t");
        for (left, right, what) in [
            (&real, &folded, "has a row that the log does not give"),
            (&folded, &real, "lacks a row that the log gives"),
        ] {
            let statement = format!("({left}) except all ({right}) order by it limit {EXAMPLES}");
            let rows = sqlx::query(AssertSqlSafe(statement))
                .fetch_all(&mut *connection)
                .await?;
            for row in rows {
                let shown: String = row.try_get::<String, _>(0)?.chars().take(SHOWN).collect();
                report.fault(Invariant::ReadModels, format!("{table} {what}: {shown}"));
            }
        }
    }
    Ok(())
}
