//! Experiments: the `projects_experiment` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::{ExperimentId, ProjectId, UserId},
    projects::experiment::{Experiment, ExperimentEvent},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    history::{AsOf, History},
    paging::{Page, PageRequest, Viewer},
    read_model::{ReadError, ReadModel, Rows, fetch_one, fetch_page},
};

/// An experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExperimentRow {
    /// The experiment.
    pub id: ExperimentId,
    /// Its project.
    pub project_id: ProjectId,
    /// The user who created it.
    pub created_by: UserId,
    /// Its name.
    pub name: String,
    /// What is tried.
    pub description: String,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The projection.
#[derive(Default)]
pub struct Experiments;

impl ReadModel for Experiments {
    type Row = ExperimentRow;
    const NAME: &'static str = "projects.experiment";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "projects_experiment";
    const HISTORY: Option<History> = Some(History::since(2, "projects_experiment_history"));
    const CATEGORIES: &'static [&'static str] = &[Experiment::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        let ExperimentEvent::Created { experiment, .. } = decode(event)?;
        Ok(vec![experiment.0.to_string()])
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ExperimentRow>) -> Result<(), DecodeError> {
        let ExperimentEvent::Created {
            experiment,
            project,
            created_by,
            name,
            description,
        } = decode(event)?;
        let row = ExperimentRow {
            id: experiment,
            project_id: project,
            created_by,
            name,
            description,
            created_at: event.at,
        };
        rows.put(experiment.0, row);
        Ok(())
    }
}

/// One experiment in a project that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn find(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    experiment: ExperimentId,
) -> Result<Option<ExperimentRow>, ReadError> {
    // The project as it is now: who may see the past is decided by the rights of today.
    let statement = format!(
        "select to_jsonb(t)::text from {} t join projects_project p on p.id = t.project_id \
         where t.id = $1 and ($2::uuid is null or p.owner_id = $2)",
        as_of.of::<Experiments>()
    );
    let query = as_of.query(statement).bind(experiment.0).bind(viewer.parameter());
    fetch_one(pool, query).await
}

/// The experiments that `viewer` may see, of one project or of all, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    project: Option<ProjectId>,
    page: &PageRequest,
) -> Result<Page<ExperimentRow>, ReadError> {
    // Project by project along its own index; a join would walk through everybody's experiments.
    let statement = format!(
        "select to_jsonb(t)::text from projects_project p cross join lateral \
         (select * from {} e where e.project_id = p.id \
          and e.id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) order by e.id desc limit $4) t \
         where ($1::uuid is null or p.owner_id = $1) and ($2::uuid is null or p.id = $2) \
         order by t.id desc limit $4",
        as_of.of::<Experiments>()
    );
    let project = project.map(|project| project.0);
    let query = as_of.query(statement).bind(viewer.parameter()).bind(project);
    let query = query.bind(page.after_id());
    fetch_page(pool, query, page).await
}
