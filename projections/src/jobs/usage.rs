//! How long people and projects have had workers, summed over their jobs (JB-6).
//!
//! One rule: what is summed are the facts in the log (`jobs.WorkerTimeMetered`); an attempt counts from its end.

use domain::id::{ProjectId, UserId};
use uuid::Uuid;

use super::job::Jobs;
use crate::{
    history::AsOf,
    read_model::{ReadError, ReadModel, Row, Source, fetch},
};

/// Time on workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    let found = sums(source, as_of, "owner_id", vec![user.0]).await?;
    Ok(found.first().map(Sum::time).unwrap_or_default())
}

/// Of the jobs in each of `projects`; nothing of one that has none.
///
/// # Errors
/// When the database fails.
pub async fn of_projects(
    source: &impl Source,
    as_of: AsOf,
    projects: &[ProjectId],
) -> Result<Vec<(ProjectId, WorkerTime)>, ReadError> {
    let ids = projects.iter().map(|project| project.0).collect();
    let found = sums(source, as_of, "project_id", ids).await?;
    Ok(found.iter().map(|sum| (sum.id.into(), sum.time())).collect())
}

/// The time of the jobs that have `id` in a column.
#[derive(Row)]
struct Sum {
    id: Uuid,
    worker_milliseconds: i64,
    gpu_milliseconds: i64,
}

impl Sum {
    fn time(&self) -> WorkerTime {
        WorkerTime {
            worker_milliseconds: self.worker_milliseconds,
            gpu_milliseconds: self.gpu_milliseconds,
        }
    }
}

async fn sums(
    source: &impl Source,
    as_of: AsOf,
    column: &'static str,
    ids: Vec<Uuid>,
) -> Result<Vec<Sum>, ReadError> {
    let pool = source.serving(&[Jobs::NAME])?;
    let statement = format!(
        "select t.{column}, sum(t.worker_milliseconds)::bigint, sum(t.gpu_milliseconds)::bigint \
         from {} t where t.{column} = any($1) group by t.{column}",
        as_of.of::<Jobs>()
    );
    fetch(pool, as_of.query(statement).bind(ids)).await
}
