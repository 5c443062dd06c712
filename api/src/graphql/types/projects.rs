//! Projects and experiments as clients see them.

use async_graphql::{Context, ID, Object, Result};
use projections::{
    jobs::usage::WorkerTime,
    projects::experiment::{self, ExperimentRow, Experiments},
};

use super::{
    Experiment, ExperimentFilter, ExperimentOrder, Job, JobFilter, JobOrder, Project, User,
    jobs::list_of as list_jobs_of, references,
};
use crate::graphql::{
    as_of::{LogInstant, ResolvedAsOf},
    errors::read_failed,
    loaders::{WorkerTimeLoader, load},
    paging::{AsOfInfo, Connection, List},
    reads,
    reads::Wanted,
    scalars::DateTime,
};

/// The list of experiments.
const EXPERIMENTS: List = List::by_id("experiments");

impl Project {
    async fn time(&self, context: &Context<'_>) -> Result<WorkerTime> {
        let time = load::<WorkerTimeLoader, _>(context, (self.0.id, self.1.as_of)).await?;
        Ok(time.map_err(|error| read_failed(&error))?.unwrap_or_default())
    }
}

/// A project.
#[Object]
impl Project {
    /// Global ID.
    pub async fn id(&self) -> ID {
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
    /// The owner; null if the caller may not read the account.
    async fn owner(&self, context: &Context<'_>) -> Result<Option<User>> {
        references::user(context, self.0.owner_id).await
    }
    /// When it was created.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
    /// Number of experiments.
    async fn experiment_count(&self) -> i32 {
        self.0.experiments
    }
    /// Worker seconds of its jobs, over all ended attempts.
    async fn worker_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        let time = self.time(context).await?;
        Ok(Some(time.worker_milliseconds as f64 / 1_000.0))
    }
    /// Of those, seconds on GPU workers.
    async fn gpu_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        let time = self.time(context).await?;
        Ok(Some(time.gpu_milliseconds as f64 / 1_000.0))
    }
    /// Experiments.
    async fn experiments(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all experiments if omitted.")] filter: Option<ExperimentFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<ExperimentOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Experiment, AsOfInfo>>> {
        let (of, wanted) = (
            (experiment::PROJECT, self.0.id.0),
            Wanted::of(filter, order, first, after)?,
        );
        let at = self.1;
        let node = |row: ExperimentRow| (row.id.0.to_string(), Experiment(row, at));
        let page = reads::nested::<Experiments, _>(context, EXPERIMENTS, at, of, wanted, node);
        page.await.map(Some)
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// A group of jobs in a project.
#[Object]
impl Experiment {
    /// Global ID.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// ID of the project.
    /// Never null; nullable because a job of some kinds has no project, and a field of one name has one type in all nodes.
    async fn project_id(&self) -> Option<ID> {
        Some(self.0.project_id.to_string().into())
    }
    /// The project; null if the caller may not read it.
    async fn project(&self, context: &Context<'_>) -> Result<Option<Project>> {
        references::project(context, self.1, self.0.project_id).await
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
    async fn created_by_id(&self) -> ID {
        self.0.created_by.to_string().into()
    }
    /// The user who created it; null if the caller may not read the account.
    async fn created_by(&self, context: &Context<'_>) -> Result<Option<User>> {
        references::user(context, self.0.created_by).await
    }
    /// When it was created.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
    /// Jobs.
    async fn jobs(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all jobs if omitted.")] filter: Option<JobFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<JobOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<Job, AsOfInfo>>> {
        let wanted = Wanted::of(filter, order, first, after)?;
        let page = list_jobs_of(context, self.1, self.0.id, wanted);
        page.await.map(Some)
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// Experiments that the caller may see.
///
/// # Errors
/// Missing sign-in, a bad page, or a failing database.
pub async fn list_experiments(
    context: &Context<'_>,
    resolved: ResolvedAsOf,
    wanted: Wanted,
) -> Result<Connection<Experiment, AsOfInfo>> {
    reads::list::<Experiments, _>(context, EXPERIMENTS, resolved, wanted, |row| {
        (row.id.0.to_string(), Experiment(row, resolved))
    })
    .await
}
