//! The order of the log, asked of the table itself, so that nothing depends on how events are read.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row as _};

use super::{Invariant, Report};

/// How long one question over the whole log may take.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// What must not be found, with how it is told.
const QUESTIONS: [(&str, &str); 5] = [
    (
        "position is missing, or doubled, before",
        "select pos::text from (select pos, lag(pos, 1, 0::bigint) over (order by pos) as before from event) e
         where pos <> before + 1 order by pos limit 5",
    ),
    (
        "revisions have a gap or a double in stream",
        "select stream from event group by stream
         having min(revision) <> 0 or max(revision) <> count(*) - 1 or count(distinct revision) <> count(*)
         order by stream limit 5",
    ),
    (
        "revisions do not ascend with positions in stream",
        "select stream from (select stream, revision, pos,
                                    lag(pos) over (partition by stream order by revision) as before from event) e
         where before > pos order by stream limit 5",
    ),
    (
        "id occurs more than once:",
        "select id::text from event group by id having count(*) > 1 order by id limit 5",
    ),
    (
        "time runs backwards at position",
        "select pos::text from (select pos, at, lag(at) over (order by pos) as before from event) e
         where at < before order by pos limit 5",
    ),
];

/// Asks all questions.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn sequence(pool: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    patient(&mut connection).await?;
    for (what, question) in QUESTIONS {
        let rows = sqlx::query(question).fetch_all(&mut *connection);
        for row in tokio::time::timeout(DEADLINE, rows).await?? {
            let found: String = row.try_get(0)?;
            report.fault(Invariant::Sequence, format!("{what} {found}"));
        }
    }
    // Its settings are not for others.
    connection.close_on_drop();
    report.done(Invariant::Sequence);
    Ok(())
}

/// Lets statements of this connection run for as long as we wait for them.
pub(super) async fn patient(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("set statement_timeout = '30min'; set idle_in_transaction_session_timeout = '30min'")
        .execute(connection)
        .await?;
    Ok(())
}
