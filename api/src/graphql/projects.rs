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
    history::Moment::Now,
    jobs::usage,
    projects::{experiment::ExperimentRow, project::ProjectRow},
};
use time::OffsetDateTime;

use super::{
    as_of::{AsOf, Moment, Seen, View, view},
    context::{Outcome, app, at_least, coded, reach, run, unreadable, user, viewer},
    ids::id_or_not_found,
    jobs::Job,
    paging::{connect_seen, page, weight},
    scalars::Long,
    user_error::{UserError, UserErrorCode},
};

/// A project.
pub struct Project(pub ProjectRow, pub View);

impl Project {
    /// A project as it stands.
    #[must_use]
    pub fn now(row: ProjectRow) -> Self {
        Self(row, View::NOW)
    }
}

/// A place where people work together.
#[Object]
impl Project {
    /// Global id.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// What it is about.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// Who founded it, by id.
    async fn owner_id(&self) -> ID {
        self.0.owner_id.to_string().into()
    }
    /// When it was created.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// How many experiments it has.
    async fn experiment_count(&self) -> i32 {
        self.0.experiments
    }
    /// Seconds that its jobs have had workers, over all attempts that have ended.
    async fn worker_seconds(&self, context: &Context<'_>) -> Result<f64> {
        let time = usage::of_project(&app(context)?.pool, self.1.moment, self.0.id).await;
        Ok(time.map_err(|error| unreadable(&error))?.worker_milliseconds as f64 / 1_000.0)
    }
    /// Seconds of them on GPUs.
    async fn gpu_seconds(&self, context: &Context<'_>) -> Result<f64> {
        let time = usage::of_project(&app(context)?.pool, self.1.moment, self.0.id).await;
        Ok(time.map_err(|error| unreadable(&error))?.gpu_milliseconds as f64 / 1_000.0)
    }
    /// Its experiments, the newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Connection<String, Experiment, Seen>> {
        experiments(context, self.1, Some(self.0.id), first, after).await
    }
    /// The moment of the past that this shows; null for the present.
    async fn as_of(&self) -> Option<Moment> {
        self.1.shown
    }
}

/// An experiment.
pub struct Experiment(pub ExperimentRow, pub View);

impl Experiment {
    /// An experiment as it stands.
    #[must_use]
    pub fn now(row: ExperimentRow) -> Self {
        Self(row, View::NOW)
    }
}

/// Runs that belong together, inside a project.
#[Object]
impl Experiment {
    /// Global id.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Its project, by id.
    async fn project_id(&self) -> ID {
        self.0.project_id.to_string().into()
    }
    /// Its name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// What is tried.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// Who created it, by id.
    async fn created_by(&self) -> ID {
        self.0.created_by.to_string().into()
    }
    /// When it was created.
    async fn created_at(&self) -> OffsetDateTime {
        self.0.created_at
    }
    /// Its jobs, the newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
    ) -> Result<Connection<String, Job, Seen>> {
        super::jobs::list(context, self.1, Some(self.0.id), None, first, after).await
    }
    /// The moment of the past that this shows; null for the present.
    async fn as_of(&self) -> Option<Moment> {
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

/// What came of it.
#[derive(SimpleObject)]
pub struct CreateProjectPayload {
    /// The project; null when there is none.
    pub project: Option<Project>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
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

/// What came of it.
#[derive(SimpleObject)]
pub struct CreateExperimentPayload {
    /// The experiment; null when there is none.
    pub experiment: Option<Experiment>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Vec<UserError>,
}

fn texts(problems: TextProblems) -> Vec<UserError> {
    let fault = |problem: domain::text::TextProblem| {
        UserError::at(problem.field, problem.message, UserErrorCode::Invalid)
    };
    problems.0.into_iter().map(fault).collect()
}

async fn experiments(
    context: &Context<'_>,
    view: View,
    project: Option<ProjectId>,
    first: Option<i32>,
    after: Option<String>,
) -> Result<Connection<String, Experiment, Seen>> {
    let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
    let pool = &app(context)?.pool;
    let rows = projections::projects::experiment::list(pool, view.moment, viewer, project, &request).await;
    let rows = rows.map_err(|error| unreadable(&error))?;
    Ok(connect_seen(rows, after.as_deref(), view, |row| {
        (row.id.0.to_string(), Experiment(row, view))
    }))
}

/// Queries about projects.
#[derive(Default)]
pub struct ProjectsQuery;

#[Object]
impl ProjectsQuery {
    /// The projects that one may see, the newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn projects(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Connection<String, Project, Seen>> {
        let (viewer, request) = (viewer(context)?, page(first, after.as_deref())?);
        at_least(context, min_position).await?;
        let (pool, view) = (&app(context)?.pool, view(context, as_of).await?);
        let rows = projections::projects::project::list(pool, view.moment, viewer, &request).await;
        let rows = rows.map_err(|error| unreadable(&error))?;
        Ok(connect_seen(rows, after.as_deref(), view, |row| {
            (row.id.0.to_string(), Project(row, view))
        }))
    }

    /// One project.
    async fn project(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The project.")] id: ID,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<Project>> {
        let viewer = viewer(context)?;
        at_least(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ProjectId>(&id) else {
            return Ok(None);
        };
        let (pool, view) = (&app(context)?.pool, view(context, as_of).await?);
        let row = projections::projects::project::find(pool, view.moment, viewer, id).await;
        Ok(row
            .map_err(|error| unreadable(&error))?
            .map(|row| Project(row, view)))
    }

    /// The experiments of all projects that one may see, the newest first.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Connection<String, Experiment, Seen>> {
        viewer(context)?;
        at_least(context, min_position).await?;
        let view = view(context, as_of).await?;
        experiments(context, view, None, first, after).await
    }

    /// One experiment.
    async fn experiment(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The experiment.")] id: ID,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<Experiment>> {
        let viewer = viewer(context)?;
        at_least(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ExperimentId>(&id) else {
            return Ok(None);
        };
        let (pool, view) = (&app(context)?.pool, view(context, as_of).await?);
        let row = projections::projects::experiment::find(pool, view.moment, viewer, id).await;
        Ok(row
            .map_err(|error| unreadable(&error))?
            .map(|row| Experiment(row, view)))
    }
}

/// Changes of projects.
#[derive(Default)]
pub struct ProjectsMutation;

#[Object]
impl ProjectsMutation {
    /// Founds a project. Needs `projects.create` and room in the quota.
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
            Outcome::NotFound => return Err(coded("NOT_FOUND", "not found")),
        };
        reach(context, position).await?;
        let (pool, viewer) = (&app(context)?.pool, viewer(context)?);
        let row = projections::projects::project::find(pool, Now, viewer, project).await;
        let project = row.map_err(|error| unreadable(&error))?.map(Project::now);
        Ok(CreateProjectPayload {
            project,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }

    /// Creates an experiment in a project. Needs `experiments.create` and a part in the project.
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
        reach(context, position).await?;
        let (pool, viewer) = (&app(context)?.pool, viewer(context)?);
        let row = projections::projects::experiment::find(pool, Now, viewer, experiment).await;
        let experiment = row.map_err(|error| unreadable(&error))?.map(Experiment::now);
        Ok(CreateExperimentPayload {
            experiment,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}
