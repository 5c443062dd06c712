//! Projects and experiments.

use async_graphql::{Context, ID, InputObject, Object, Result, connection::Connection};
use domain::{
    id::{ExperimentId, ProjectId},
    projects::{
        experiment::{CreateExperiment, CreateExperimentRefusal},
        project::{CreateProject, CreateProjectRefusal},
    },
};
use projections::{
    history::AsOf::Now,
    jobs::usage,
    projects::{experiment::ExperimentRow, project::ProjectRow},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    as_of::{AsOfInfo, AsOfInput, LogInstant, ResolvedAsOf, resolve_as_of},
    context::{app, honor_min_position, readable, user, viewer},
    errors::read_failed,
    ids::id_or_not_found,
    jobs::Job,
    mutation::{Entity, MutationCall, payload},
    paging::{connect_as_of, page, weight},
    scalars::Long,
    user_error::{UserError, UserErrorCode, UserErrors},
};

/// A project.
pub struct Project(pub ProjectRow, pub ResolvedAsOf);

impl Project {
    /// A project as it stands.
    #[must_use]
    pub fn now(row: ProjectRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }
}

/// A project.
#[Object]
impl Project {
    /// Global ID.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Description.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// The owner's ID.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// When it was created.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Number of experiments.
    async fn experiment_count(&self) -> i32 {
        self.0.experiments
    }
    /// Worker seconds of its jobs, over all ended attempts.
    async fn worker_seconds(&self, context: &Context<'_>) -> Result<f64> {
        let time = usage::of_project(&app(context)?.pool, self.1.as_of, self.0.id).await;
        Ok(time.map_err(|error| read_failed(&error))?.worker_milliseconds as f64 / 1_000.0)
    }
    /// Of those, seconds on GPU workers.
    async fn gpu_seconds(&self, context: &Context<'_>) -> Result<f64> {
        let time = usage::of_project(&app(context)?.pool, self.1.as_of, self.0.id).await;
        Ok(time.map_err(|error| read_failed(&error))?.gpu_milliseconds as f64 / 1_000.0)
    }
    /// Experiments, newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Connection<String, Experiment, AsOfInfo>> {
        experiments(context, self.1, Some(self.0.id), first, after).await
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// An experiment.
pub struct Experiment(pub ExperimentRow, pub ResolvedAsOf);

impl Experiment {
    /// An experiment as it stands.
    #[must_use]
    pub fn now(row: ExperimentRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }
}

/// A group of jobs in a project.
#[Object]
impl Experiment {
    /// Global ID.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// ID of the project.
    async fn project_id(&self) -> ID {
        self.0.project_id.to_string().into()
    }
    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Description.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// ID of the user who created it.
    async fn created_by(&self) -> ID {
        self.0.created_by.to_string().into()
    }
    /// When it was created.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Jobs, newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Connection<String, Job, AsOfInfo>> {
        super::jobs::list(context, self.1, Some(self.0.id), None, first, after).await
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

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

impl Entity for Project {
    type Id = ProjectId;
    async fn load(context: &Context<'_>, id: ProjectId) -> Result<Option<Self>> {
        let Some(viewer) = readable(context) else {
            return Ok(None);
        };
        let row = projections::projects::project::find(&app(context)?.pool, Now, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self::now))
    }
}

impl Entity for Experiment {
    type Id = ExperimentId;
    async fn load(context: &Context<'_>, id: ExperimentId) -> Result<Option<Self>> {
        let Some(viewer) = readable(context) else {
            return Ok(None);
        };
        let row = projections::projects::experiment::find(&app(context)?.pool, Now, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self::now))
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

async fn experiments(
    context: &Context<'_>,
    resolved: ResolvedAsOf,
    project: Option<ProjectId>,
    first: Option<i32>,
    after: Option<String>,
) -> Result<Connection<String, Experiment, AsOfInfo>> {
    let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
    let pool = &app(context)?.pool;
    let rows = projections::projects::experiment::list(pool, resolved.as_of, viewer, project, &request).await;
    let rows = rows.map_err(|error| read_failed(&error))?;
    Ok(connect_as_of(rows, after.as_deref(), resolved, |row| {
        (row.id.0.to_string(), Experiment(row, resolved))
    }))
}

/// Queries about projects.
#[derive(Default)]
pub struct ProjectsQuery;

#[Object]
impl ProjectsQuery {
    /// The projects visible to the caller, newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn projects(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Connection<String, Project, AsOfInfo>> {
        let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
        honor_min_position(context, min_position).await?;
        let (pool, resolved) = (&app(context)?.pool, resolve_as_of(context, as_of).await?);
        let rows = projections::projects::project::list(pool, resolved.as_of, viewer, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        Ok(connect_as_of(rows, after.as_deref(), resolved, |row| {
            (row.id.0.to_string(), Project(row, resolved))
        }))
    }

    /// One project.
    async fn project(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The project.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Project>> {
        let viewer = viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ProjectId>(&id) else {
            return Ok(None);
        };
        let (pool, resolved) = (&app(context)?.pool, resolve_as_of(context, as_of).await?);
        let row = projections::projects::project::find(pool, resolved.as_of, viewer, id).await;
        Ok(row
            .map_err(|error| read_failed(&error))?
            .map(|row| Project(row, resolved)))
    }

    /// The experiments of all projects visible to the caller, newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Connection<String, Experiment, AsOfInfo>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        experiments(context, resolved, None, first, after).await
    }

    /// One experiment.
    async fn experiment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The experiment.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Experiment>> {
        let viewer = viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ExperimentId>(&id) else {
            return Ok(None);
        };
        let (pool, resolved) = (&app(context)?.pool, resolve_as_of(context, as_of).await?);
        let row = projections::projects::experiment::find(pool, resolved.as_of, viewer, id).await;
        Ok(row
            .map_err(|error| read_failed(&error))?
            .map(|row| Experiment(row, resolved)))
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
