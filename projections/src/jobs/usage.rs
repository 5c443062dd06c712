//! How long people and projects have had workers, summed over their jobs (JB-6).
//!
//! One rule: what is summed are the facts in the log (`jobs.WorkerTimeMetered`); an attempt counts from its end.

use domain::id::{ProjectId, UserId};
use uuid::Uuid;

use super::job::Jobs;
use crate::{
    history::AsOf,
    read_model::{ReadError, ReadModel, Row, Source, fetch_one},
};

/// Time on workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Row)]
pub struct WorkerTime {
    /// Milliseconds.
    pub worker_milliseconds: i64,
    /// Milliseconds of them on GPUs.
    pub gpu_milliseconds: i64,
}

/// Of the jobs of `user`.
///
/// # Errors
/// When the database fails.
pub async fn of_user(source: &impl Source, as_of: AsOf, user: UserId) -> Result<WorkerTime, ReadError> {
    sum(source, as_of, "owner_id", user.0).await
}

/// Of the jobs in `project`.
///
/// # Errors
/// When the database fails.
pub async fn of_project(
    source: &impl Source,
    as_of: AsOf,
    project: ProjectId,
) -> Result<WorkerTime, ReadError> {
    sum(source, as_of, "project_id", project.0).await
}

async fn sum(
    source: &impl Source,
    as_of: AsOf,
    column: &'static str,
    id: Uuid,
) -> Result<WorkerTime, ReadError> {
    let pool = source.serving(&[Jobs::NAME])?;
    let statement = format!(
        "select coalesce(sum(t.worker_milliseconds), 0)::bigint, coalesce(sum(t.gpu_milliseconds), 0)::bigint \
         from {} t where t.{column} = $1",
        as_of.of::<Jobs>()
    );
    let found = fetch_one(pool, as_of.query(statement).bind(id)).await?;
    Ok(found.unwrap_or_default())
}
