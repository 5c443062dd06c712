//! Projects: the `projects_project` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::{ProjectId, UserId},
    projects::{
        experiment::{Experiment, ExperimentEvent},
        project::{Project, ProjectEvent},
    },
};
use time::OffsetDateTime;

use crate::{
    history::History,
    paging::Column,
    read_model::{ReadModel, Row, Rows, Scope},
};

/// A project.
#[derive(Clone, Debug, Row)]
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
    pub created_at: OffsetDateTime,
    /// How many experiments it has.
    pub experiments: i32,
}

/// Projects can be listed by their owner,
pub const OWNER: Column = Column::new("owner_id", "uuid");
/// by their name,
pub const NAME: Column = Column::new("name", "text");
/// and by when they were created.
pub const CREATED: Column = Column::new("created_at", "timestamptz");

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
    const SCOPE: Scope = Scope::Shared {
        founder: "owner_id",
        visibility: None,
        read: Action::ProjectsRead,
    };
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
