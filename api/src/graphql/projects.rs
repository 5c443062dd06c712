//! Projects and experiments.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
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
    projects::{
        experiment::Experiments,
        project::{ProjectRow, Projects},
    },
};

use super::{
    as_of::{AsOfInput, resolve_as_of},
    context::{Outcome, app, honor_min_position, run, user, viewer, wait_for_position},
    errors::error_with_code,
    ids::id_or_not_found,
    paging::{AsOfInfo, Connection, List},
    reads,
    reads::Wanted,
    scalars::Long,
    types::list_experiments,
    user_error::{UserError, UserErrorCode},
};

pub use super::types::{Experiment, Project};

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

/// The list of projects.
const PROJECTS: List = List::by_id("projects.newest");

/// Queries about projects.
#[derive(Default)]
pub struct ProjectsQuery;

#[Object]
impl ProjectsQuery {
    /// The projects visible to the caller, newest first.
    async fn projects(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Project, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted {
            first,
            after,
            ..Wanted::default()
        };
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

    /// The experiments of all projects visible to the caller, newest first.
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Experiment, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let connection = list_experiments(context, resolved, None, first, after).await?;
        Ok(Some(connection))
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
