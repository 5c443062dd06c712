//! Objects beside ids.
//!
//! One rule: what the caller may not read by the object's own query is null here, like what does not exist.

use async_graphql::{Context, Result};
use domain::id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId};
use projections::{
    datasets::dataset::Datasets,
    history::AsOf,
    identity::user::Users,
    jobs::job::Jobs,
    models::model::Models,
    projects::{experiment::Experiments, project::Projects},
    read_model::{ReadModel, Viewer},
};

use super::{Dataset, Experiment, Job, Model, Project, User};
use crate::graphql::{
    as_of::ResolvedAsOf,
    context::{app, user as caller_user, viewer},
    errors::read_failed,
    loaders::{VisibleLoader, load},
};

async fn row<M: ReadModel>(context: &Context<'_>, as_of: AsOf, id: uuid::Uuid) -> Result<Option<M::Row>>
where
    M::Row: Clone,
{
    let found = load::<VisibleLoader<M>, _>(context, (id, as_of, viewer(context)?)).await?;
    found.map_err(|error| read_failed(&error))
}

/// The account, as `me` and `users` show it: the caller's own, or any with `users.read`.
///
/// # Errors
/// Nobody is signed in, or the database fails.
pub async fn user(context: &Context<'_>, id: UserId) -> Result<Option<User>> {
    // Not `viewer`: an account whose address is not proven reads its own profile.
    let viewer = Viewer::of(caller_user(context)?, app(context)?.now());
    let found = load::<VisibleLoader<Users>, _>(context, (id.0, AsOf::Now, viewer)).await?;
    Ok(found.map_err(|error| read_failed(&error))?.map(User))
}

/// A project at a moment.
pub(super) async fn project(
    context: &Context<'_>,
    at: ResolvedAsOf,
    id: ProjectId,
) -> Result<Option<Project>> {
    let row = row::<Projects>(context, at.as_of, id.0).await?;
    Ok(row.map(|row| Project(row, at)))
}

/// An experiment at a moment.
pub(super) async fn experiment(
    context: &Context<'_>,
    at: ResolvedAsOf,
    id: ExperimentId,
) -> Result<Option<Experiment>> {
    let row = row::<Experiments>(context, at.as_of, id.0).await?;
    Ok(row.map(|row| Experiment(row, at)))
}

/// A job at a moment.
pub(super) async fn job(context: &Context<'_>, at: ResolvedAsOf, id: JobId) -> Result<Option<Job>> {
    let row = row::<Jobs>(context, at.as_of, id.0).await?;
    Ok(row.map(|row| Job(row, at)))
}

/// A dataset at a moment.
pub(super) async fn dataset(
    context: &Context<'_>,
    at: ResolvedAsOf,
    id: DatasetId,
) -> Result<Option<Dataset>> {
    let row = row::<Datasets>(context, at.as_of, id.0).await?;
    Ok(row.map(|row| Dataset(row, at)))
}

/// A model at a moment.
pub(super) async fn model(context: &Context<'_>, at: ResolvedAsOf, id: ModelId) -> Result<Option<Model>> {
    let row = row::<Models>(context, at.as_of, id.0).await?;
    Ok(row.map(|row| Model(row, at)))
}
