//! The system itself, and anything by its id.

use async_graphql::{Context, ID, Object, Result, SimpleObject, Union};
use domain::id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId};

use projections::history::Moment;

use super::{
    context::{app, at_least, unreadable, viewer},
    datasets::Dataset,
    jobs::Job,
    models::Model,
    projects::{Experiment, Project},
    scalars::Long,
};

/// What can be said to everybody.
#[derive(SimpleObject)]
pub struct ServerInfo {
    /// The version of Anneal.
    pub version: &'static str,
    /// Whether the first administrator exists; if not, nothing else works.
    pub set_up: bool,
    /// Whether anybody may register.
    pub self_registration: bool,
}

/// Anything that has a global id.
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

    /// What can be said to everybody.
    async fn server(&self, context: &Context<'_>) -> Result<ServerInfo> {
        let app = app(context)?;
        Ok(ServerInfo {
            version: app.settings.version,
            set_up: app.directory.is_set_up(),
            self_registration: app.settings.self_registration,
        })
    }

    /// Anything that the caller may see, by its global id; null when there is no such thing.
    async fn node(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The id.")] id: ID,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<Node>> {
        let (viewer, pool) = (viewer(context)?, &app(context)?.pool);
        at_least(context, min_position).await?;
        let node = if let Ok(id) = id.parse::<ProjectId>() {
            projections::projects::project::find(pool, Moment::Now, viewer, id)
                .await
                .map(|row| row.map(|row| Node::Project(Project::now(row))))
        } else if let Ok(id) = id.parse::<ExperimentId>() {
            let row = projections::projects::experiment::find(pool, Moment::Now, viewer, id).await;
            row.map(|row| row.map(|row| Node::Experiment(Experiment::now(row))))
        } else if let Ok(id) = id.parse::<DatasetId>() {
            projections::datasets::dataset::find(pool, viewer, id)
                .await
                .map(|row| row.map(|row| Node::Dataset(Dataset(row))))
        } else if let Ok(id) = id.parse::<ModelId>() {
            projections::models::model::find(pool, viewer, id)
                .await
                .map(|row| row.map(|row| Node::Model(Model(row))))
        } else if let Ok(id) = id.parse::<JobId>() {
            projections::jobs::job::find(pool, Moment::Now, viewer, id)
                .await
                .map(|row| row.map(|row| Node::Job(Job::now(row))))
        } else {
            Ok(None)
        };
        node.map_err(|error| unreadable(&error))
    }
}
