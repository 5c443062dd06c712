//! The system itself, and anything by its id.

use async_graphql::{Context, ID, Object, Result, SimpleObject, Union};
use domain::id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId};

use projections::{
    datasets::dataset::Datasets, history::AsOf, jobs::job::Jobs, models::model::Models,
    projects::experiment::Experiments, projects::project::Projects,
};

use super::{
    context::{app, honor_min_position, viewer},
    datasets::Dataset,
    jobs::Job,
    models::Model,
    projects::{Experiment, Project},
    reads,
    scalars::Long,
};

/// Public information about the server.
#[derive(SimpleObject)]
pub struct ServerInfo {
    /// The version of Anneal.
    pub version: &'static str,
    /// Whether the first administrator exists; if not, only `createFirstAdministrator` works.
    pub set_up: bool,
    /// Whether self-registration is enabled.
    pub self_registration: bool,
}

/// An object with a global ID.
#[derive(Union)]
#[expect(clippy::large_enum_variant, reason = "one at a time is alive")]
pub enum Node {
    /// A project.
    Project(Project),
    /// An experiment.
    Experiment(Experiment),
    /// A dataset.
    Dataset(Dataset),
    /// A model.
    Model(Model),
    /// A job.
    Job(Job),
}

/// Queries of the system.
#[derive(Default)]
pub struct SystemQuery;

#[Object]
impl SystemQuery {
    /// The version of the server.
    async fn version(&self, context: &Context<'_>) -> Result<&'static str> {
        Ok(app(context)?.settings.version)
    }

    /// Public information about the server.
    async fn server(&self, context: &Context<'_>) -> Result<ServerInfo> {
        let app = app(context)?;
        Ok(ServerInfo {
            version: app.settings.version,
            set_up: app.directory.is_set_up(),
            self_registration: app.settings.self_registration,
        })
    }

    /// An object by its global ID; null if it does not exist or is not visible to the caller.
    async fn node(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The id.")] id: ID,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Node>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        Ok(if let Ok(id) = id.parse::<ProjectId>() {
            let row = reads::find::<Projects>(context, AsOf::Now, id.0).await?;
            row.map(|row| Node::Project(Project::now(row)))
        } else if let Ok(id) = id.parse::<ExperimentId>() {
            let row = reads::find::<Experiments>(context, AsOf::Now, id.0).await?;
            row.map(|row| Node::Experiment(Experiment::now(row)))
        } else if let Ok(id) = id.parse::<DatasetId>() {
            let row = reads::find::<Datasets>(context, AsOf::Now, id.0).await?;
            row.map(|row| Node::Dataset(Dataset(row)))
        } else if let Ok(id) = id.parse::<ModelId>() {
            let row = reads::find::<Models>(context, AsOf::Now, id.0).await?;
            row.map(|row| Node::Model(Model(row)))
        } else if let Ok(id) = id.parse::<JobId>() {
            let row = reads::find::<Jobs>(context, AsOf::Now, id.0).await?;
            row.map(|row| Node::Job(Job::now(row)))
        } else {
            None
        })
    }
}
