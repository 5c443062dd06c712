//! Experiments: the `projects_experiment` table.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::{ExperimentId, ProjectId, UserId},
    projects::experiment::{Experiment, ExperimentEvent},
};
use time::OffsetDateTime;

use super::project::Projects;
use crate::{
    history::History,
    paging::Column,
    read_model::{Parent, ReadModel, Row, Rows, Scope},
};

/// An experiment.
#[derive(Clone, Debug, Row)]
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
    pub created_at: OffsetDateTime,
}

/// Experiments can be listed by their project,
pub const PROJECT: Column = Column::new("project_id", "uuid");
/// by who created them,
pub const CREATED_BY: Column = Column::new("created_by", "uuid");
/// by their name,
pub const NAME: Column = Column::new("name", "text");
/// and by when they were created.
pub const CREATED: Column = Column::new("created_at", "timestamptz");

/// The projection.
#[derive(Default)]
pub struct Experiments;

impl ReadModel for Experiments {
    type Row = ExperimentRow;
    const NAME: &'static str = "projects.experiment";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "projects_experiment";
    const HISTORY: Option<History> = Some(History::since(2, "projects_experiment_history"));
    const SCOPE: Scope = Scope::Within {
        column: "project_id",
        parent: &Parent::of::<Projects>(),
    };
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
