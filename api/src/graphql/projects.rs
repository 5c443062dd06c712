//! Projects and experiments.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    id::{ExperimentId, ProjectId},
    projects::{
        experiment::{CreateExperiment, CreateExperimentRefusal},
        project::{CreateProject, CreateProjectRefusal},
    },
};
use projections::projects::{
    experiment::Experiments,
    project::{ProjectRow, Projects},
};
use uuid::Uuid;

pub use super::types::{Experiment, ExperimentFilter, ExperimentOrder, Project, ProjectFilter, ProjectOrder};

use super::{
    as_of::{AsOfInput, resolve_as_of},
    context::{honor_min_position, user, viewer},
    ids::id_or_not_found,
    mutation::{MutationCall, payload},
    paging::{AsOfInfo, Connection, List},
    reads::{self, Wanted},
    scalars::Long,
    types::list_experiments,
    user_error::{UserError, UserErrorCode, UserErrors},
};

/// A new project.
#[derive(InputObject)]
pub struct CreateProjectInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `createProject`.
    CreateProjectPayload {
        /// The project; null on error.
        project: Project
    }
}

/// A new experiment.
#[derive(InputObject)]
pub struct CreateExperimentInput {
    /// The project.
    pub project_id: ID,
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `createExperiment`.
    CreateExperimentPayload {
        /// The experiment; null on error.
        experiment: Experiment
    }
}

impl UserErrors for CreateProjectRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let message = self.to_string();
        match self {
            Self::Text(problems) => problems.user_errors(),
            Self::Quota(_) => vec![UserError::whole(message, UserErrorCode::QuotaExceeded)],
            Self::IdTaken => vec![UserError::whole(message, UserErrorCode::Invalid)],
        }
    }
}

impl UserErrors for CreateExperimentRefusal {
    fn user_errors(self) -> Vec<UserError> {
        match self {
            Self::Text(problems) => problems.user_errors(),
            taken @ Self::IdTaken => vec![UserError::whole(taken.to_string(), UserErrorCode::Invalid)],
        }
    }
}

/// The list of projects.
const PROJECTS: List = List::by_id("projects");

/// Queries about projects.
#[derive(Default)]
pub struct ProjectsQuery;

#[Object]
impl ProjectsQuery {
    /// The projects visible to the caller.
    #[expect(
        clippy::too_many_arguments,
        reason = "a resolver has an argument for each of its field"
    )]
    async fn projects(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all projects if omitted.")] filter: Option<ProjectFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<ProjectOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Project, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        let node = |row: ProjectRow| (row.id.0.to_string(), Project(row, resolved));
        let connection = reads::list::<Projects, _>(context, PROJECTS, resolved, wanted, node).await?;
        Ok(Some(connection))
    }

    /// One project.
    async fn project(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The project.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Project>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ProjectId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Projects>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Project(row, resolved)))
    }

    /// The experiments of all projects visible to the caller.
    #[expect(
        clippy::too_many_arguments,
        reason = "a resolver has an argument for each of its field"
    )]
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all experiments if omitted.")] filter: Option<ExperimentFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<ExperimentOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Experiment, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        list_experiments(context, resolved, wanted).await.map(Some)
    }

    /// One experiment.
    async fn experiment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The experiment.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Experiment>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ExperimentId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Experiments>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Experiment(row, resolved)))
    }
}

/// Changes of projects.
#[derive(Default)]
pub struct ProjectsMutation;

#[Object]
impl ProjectsMutation {
    /// Creates a project. Requires `projects.create` and enough quota.
    async fn create_project(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The project.")] input: CreateProjectInput,
    ) -> Result<Option<CreateProjectPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (project, owner) = (call.fresh(), user(context)?.user);
        let (name, description) = (input.name, input.description);
        let command = CreateProject {
            project,
            owner,
            name,
            description,
        };
        call.finish(project, &command).await
    }

    /// Creates an experiment in a project. Requires `experiments.create` and membership of the project.
    async fn create_experiment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The experiment.")] input: CreateExperimentInput,
    ) -> Result<Option<CreateExperimentPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (experiment, created_by) = (call.fresh(), user(context)?.user);
        let command = CreateExperiment {
            experiment,
            project: call.id("projectId", &input.project_id),
            created_by,
            name: input.name,
            description: input.description,
        };
        call.finish(experiment, &command).await
    }
}
