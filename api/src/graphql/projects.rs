//! Projects and experiments.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject, connection::Connection};
use domain::{
    id::{ExperimentId, ProjectId},
    projects::{
        experiment::{CreateExperiment, CreateExperimentRefusal},
        project::{CreateProject, CreateProjectRefusal},
    },
    text::TextProblems,
};
use projections::{
    history::AsOf::Now,
    jobs::usage,
    projects::experiment,
    projects::experiment::Experiments,
    projects::project::Projects,
    projects::{experiment::ExperimentRow, project::ProjectRow},
    read_model::RowFilter,
};
use time::OffsetDateTime;

use super::{
    as_of::{AsOfInfo, AsOfInput, LogInstant, ResolvedAsOf, resolve_as_of},
    context::{Outcome, app, honor_min_position, run, user, viewer, wait_for_position},
    errors::{error_with_code, read_failed},
    ids::id_or_not_found,
    jobs::Job,
    paging::{connect_as_of, page, weight},
    reads,
    scalars::Long,
    user_error::{UserError, UserErrorCode},
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
}

/// Payload of `createProject`.
#[derive(SimpleObject)]
pub struct CreateProjectPayload {
    /// The project; null on error.
    pub project: Option<Project>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
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
}

/// Payload of `createExperiment`.
#[derive(SimpleObject)]
pub struct CreateExperimentPayload {
    /// The experiment; null on error.
    pub experiment: Option<Experiment>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

fn texts(problems: TextProblems) -> Vec<UserError> {
    let user_error = |problem: domain::text::TextProblem| {
        UserError::at(problem.field, problem.message, UserErrorCode::Invalid)
    };
    problems.0.into_iter().map(user_error).collect()
}

async fn experiments(
    context: &Context<'_>,
    resolved: ResolvedAsOf,
    project: Option<ProjectId>,
    first: Option<i32>,
    after: Option<String>,
) -> Result<Connection<String, Experiment, AsOfInfo>> {
    let request = page(first, after.as_deref())?;
    let filter = project.map_or(RowFilter::all(), |id| {
        RowFilter::all().is(experiment::PROJECT, id.0)
    });
    let rows = reads::page::<Experiments>(context, resolved.as_of, &filter, &request).await?;
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
        viewer(context)?;
        let request = page(first, after.as_deref())?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let rows = reads::page::<Projects>(context, resolved.as_of, &RowFilter::all(), &request).await?;
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
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ProjectId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Projects>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Project(row, resolved)))
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
    ) -> Result<CreateProjectPayload> {
        let owner = user(context)?.user;
        let project = ProjectId(app(context)?.ports.ids.next());
        let command = CreateProject {
            project,
            owner,
            name: input.name,
            description: input.description,
        };
        let wrong = |user_errors| {
            Ok(CreateProjectPayload {
                project: None,
                position: None,
                user_errors,
            })
        };
        let position = match run(context, &command).await? {
            Outcome::Done(position) => position,
            Outcome::Refused(CreateProjectRefusal::Text(problems)) => return wrong(texts(problems)),
            Outcome::Refused(reason) => {
                return wrong(vec![UserError::whole(
                    reason.to_string(),
                    UserErrorCode::QuotaExceeded,
                )]);
            }
            Outcome::NotFound => return Err(error_with_code("NOT_FOUND", "not found")),
        };
        wait_for_position(context, position).await?;
        let project = reads::find::<Projects>(context, Now, project.0).await?;
        let project = project.map(Project::now);
        Ok(CreateProjectPayload {
            project,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }

    /// Creates an experiment in a project. Requires `experiments.create` and membership of the project.
    async fn create_experiment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The experiment.")] input: CreateExperimentInput,
    ) -> Result<CreateExperimentPayload> {
        let created_by = user(context)?.user;
        let wrong = |user_errors| {
            Ok(CreateExperimentPayload {
                experiment: None,
                position: None,
                user_errors,
            })
        };
        let unknown = || UserError::at("projectId", "there is no such project", UserErrorCode::NotFound);
        let Ok(project) = input.project_id.parse::<ProjectId>() else {
            return wrong(vec![unknown()]);
        };
        let experiment = ExperimentId(app(context)?.ports.ids.next());
        let (name, description) = (input.name, input.description);
        let command = CreateExperiment {
            experiment,
            project,
            created_by,
            name,
            description,
        };
        let position = match run(context, &command).await? {
            Outcome::Done(position) => position,
            Outcome::Refused(CreateExperimentRefusal::Text(problems)) => return wrong(texts(problems)),
            Outcome::Refused(reason) => {
                return wrong(vec![UserError::whole(reason.to_string(), UserErrorCode::Invalid)]);
            }
            Outcome::NotFound => return wrong(vec![unknown()]),
        };
        wait_for_position(context, position).await?;
        let experiment = reads::find::<Experiments>(context, Now, experiment.0).await?;
        let experiment = experiment.map(Experiment::now);
        Ok(CreateExperimentPayload {
            experiment,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}
