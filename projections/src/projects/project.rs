//! Projects: the `projects_project` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::{ProjectId, UserId},
    projects::{
        experiment::{Experiment, ExperimentEvent},
        project::{Project, ProjectEvent},
    },
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    history::{AsOf, History},
    paging::{Page, PageRequest, Viewer},
    read_model::{ReadError, ReadModel, Rows, fetch_one, fetch_page},
};

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectRow {
    /// The project.
    pub id: ProjectId,
    /// The founder.
    pub owner_id: UserId,
    /// Its name.
    pub name: String,
    /// Its subject.
    pub description: String,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// How many experiments it has.
    pub experiments: i32,
}

/// The projection.
#[derive(Default)]
pub struct Projects;

impl ReadModel for Projects {
    type Row = ProjectRow;
    const NAME: &'static str = "projects.project";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "projects_project";
    const HISTORY: Option<History> = Some(
        History::since(2, "projects_project_history")
            .hot_columns("projects_project_history_dense", &["experiments"]),
    );
    const CATEGORIES: &'static [&'static str] = &[Project::CATEGORY, Experiment::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(vec![if event.stream.category() == Project::CATEGORY {
            let ProjectEvent::Created { project, .. } = decode(event)?;
            project.0.to_string()
        } else {
            let ExperimentEvent::Created { project, .. } = decode(event)?;
            project.0.to_string()
        }])
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ProjectRow>) -> Result<(), DecodeError> {
        if event.stream.category() == Experiment::CATEGORY {
            let ExperimentEvent::Created { project, .. } = decode(event)?;
            rows.change(project.0, |row| row.experiments += 1);
            return Ok(());
        }
        let ProjectEvent::Created {
            project,
            owner,
            name,
            description,
        } = decode(event)?;
        let row = ProjectRow {
            id: project,
            owner_id: owner,
            name,
            description,
            created_at: event.at,
            experiments: 0,
        };
        rows.put(project.0, row);
        Ok(())
    }
}

/// One project that `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn find(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    project: ProjectId,
) -> Result<Option<ProjectRow>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {} t where id = $1 and ($2::uuid is null or owner_id = $2)",
        as_of.of::<Projects>()
    );
    let query = as_of.query(statement).bind(project.0).bind(viewer.parameter());
    fetch_one(pool, query).await
}

/// The projects that `viewer` may see, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    page: &PageRequest,
) -> Result<Page<ProjectRow>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {} t \
         where ($1::uuid is null or owner_id = $1) and ($2::uuid is null or id < $2) order by id desc limit $3",
        as_of.of::<Projects>()
    );
    let query = as_of
        .query(statement)
        .bind(viewer.parameter())
        .bind(page.after_id());
    fetch_page(pool, query, page).await
}

/// How many projects `viewer` may see.
///
/// # Errors
/// When the database fails.
pub async fn count(pool: &PgPool, viewer: Viewer) -> Result<i64, ReadError> {
    let query =
        sqlx::query("select count(*) from projects_project where ($1::uuid is null or owner_id = $1)");
    crate::read_model::count(pool, query.bind(viewer.parameter())).await
}
