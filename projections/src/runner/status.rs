//! Status of every projection, for health checks, `doctor` and the command line.
//!
//! The rule: it is read from the database, so that it is the same whichever process leads.

use domain::event_store::Position;
use serde::Serialize;
use sqlx::{PgPool, Row as _};
use time::OffsetDateTime;

use crate::position::position;

/// Condition of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// It follows the log.
    Live,
    /// Its table is being folded anew; what is there is served meanwhile.
    Rebuilding,
    /// An event stopped it: an alarm.
    Stopped,
}

/// Status of a projection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Its condition.
    pub condition: Condition,
    /// Whether clients are shown its rows: not while it is stopped, nor before it is built.
    pub served: bool,
    /// The position up to which the table that is served is folded.
    pub position: Position,
    /// How far its rebuild is; `None` when none is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Position>,
    /// The event that it cannot fold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_position: Option<Position>,
    /// Since when.
    #[serde(
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub failing_since: Option<OffsetDateTime>,
    /// Why. It may quote the event, so it is for operators only.
    #[serde(skip)]
    pub failure: Option<String>,
}

/// The status of every projection in the database, by name.
///
/// # Errors
/// When the database fails.
pub async fn statuses(pool: &PgPool) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    let rows = sqlx::query(
        "select c.name, c.state, c.position, r.position, coalesce(r.failed_position, c.failed_position),
                c.failing_since, coalesce(r.failure, c.failure), r.failure is not null
         from projection_checkpoint c left join projection_rebuild r using (name) order by c.name",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let rebuilt: Option<i64> = row.try_get(3)?;
            let condition = match (row.try_get::<&str, _>(1)?, rebuilt, row.try_get::<bool, _>(7)?) {
                // The rebuild will put things right, unless it fails too.
                (_, Some(_), false) | ("building", None, _) => Condition::Rebuilding,
                ("live", None, _) => Condition::Live,
                _ => Condition::Stopped,
            };
            Ok(ProjectionStatus {
                name: row.try_get(0)?,
                condition,
                served: row.try_get::<&str, _>(1)? == "live",
                position: position(row.try_get(2)?),
                rebuilt: rebuilt.map(position),
                failed_position: row.try_get::<Option<i64>, _>(4)?.map(position),
                failing_since: row.try_get(5)?,
                failure: row.try_get(6)?,
            })
        })
        .collect()
}
