//! Experiments: runs that belong together, inside a project.

use super::project::Project;
use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, Needs, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{ExperimentId, ProjectId, UserId},
    shared,
    text::{Label, TextProblems},
};

/// An experiment.
#[derive(Clone, Debug, Default)]
pub struct Experiment {
    /// The project it is in, once created.
    pub project: Option<ProjectId>,
    /// The user who created it.
    pub created_by: Option<UserId>,
}

/// Facts about an experiment.
#[event(context = "projects", subject = created_by)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentEvent {
    /// It came to be.
    #[event(name = "ExperimentCreated")]
    Created {
        /// The experiment.
        experiment: ExperimentId,
        /// Its project.
        project: ProjectId,
        /// The user who created it.
        created_by: UserId,
        /// Its name.
        #[plain]
        name: String,
        /// What is tried.
        #[plain]
        description: String,
    },
}

impl Aggregate for Experiment {
    const CATEGORY: &'static str = "projects.experiment";
    type Event = ExperimentEvent;
    fn evolve(&mut self, event: &ExperimentEvent) {
        let ExperimentEvent::Created {
            project, created_by, ..
        } = event;
        self.project = Some(*project);
        self.created_by = Some(*created_by);
    }
}

/// Why there is no new experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateExperimentRefusal {
    /// Texts are too long or empty.
    #[error(transparent)]
    Text(#[from] TextProblems),
    /// The id belongs to another experiment.
    #[error("this id is already used")]
    IdTaken,
}

/// Creates an experiment in a project (PR-2).
#[derive(Clone, Debug)]
pub struct CreateExperiment {
    /// Its id.
    pub experiment: ExperimentId,
    /// Its project.
    pub project: ProjectId,
    /// Who creates it.
    pub created_by: UserId,
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// What is tried, at most 2,000 characters.
    pub description: String,
}

impl Command for CreateExperiment {
    type Refusal = CreateExperimentRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.make::<Experiment>(self.experiment);
        shared::read::<Project>(self.project, loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let project = shared::resource::<Project>(self.project, loaded);
        Needs::one(Action::ProjectsRead, project.clone())
            .and(Action::ExperimentsCreate, project)
            .into()
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<CreateExperimentRefusal> {
        if loaded.get::<Experiment>(self.experiment).project.is_some() {
            return Err(CreateExperimentRefusal::IdTaken.into());
        }
        let Label { name, description } =
            Label::try_new(&self.name, &self.description).map_err(CreateExperimentRefusal::Text)?;
        let created = ExperimentEvent::Created {
            experiment: self.experiment,
            project: self.project,
            created_by: self.created_by,
            name,
            description,
        };
        Ok(NewEvents::record::<Experiment>(self.experiment, &created))
    }
}
