//! Anything by its global id (GraphQL Global Object Identification Specification).
//!
//! One rule: each kind is found as by its own query, within what the caller may see.

use async_graphql::{Context, ID, Interface, Result};
use domain::{authz::Action, id::WorkerId};
use projections::{
    history::AsOf,
    identity::session::Sessions,
    read_model::{self, Viewer},
};

use super::{Dataset, Experiment, Job, Model, Project, Session, User, Worker, references};
use crate::graphql::{
    as_of::ResolvedAsOf,
    context::{app, caller, user, viewer},
    errors::read_failed,
};

/// An object with a global ID.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Global ID."))]
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
    /// An account.
    User(User),
    /// A session.
    Session(Session),
    /// A worker.
    Worker(Worker),
}

/// The object of that id that the caller may see.
///
/// # Errors
/// Nobody is signed in, or the database fails. What the caller may not see is no error.
pub async fn find(context: &Context<'_>, id: &ID) -> Result<Option<Node>> {
    user(context)?;
    if let Ok(id) = id.parse() {
        return Ok(references::user(context, id).await?.map(Node::User));
    }
    if let Ok(id) = id.parse() {
        return Ok(session(context, id).await?.map(Node::Session));
    }
    // Accounts whose address is not proven see nothing but their own profile.
    if viewer(context).is_err() {
        return Ok(None);
    }
    let now = ResolvedAsOf::NOW;
    if let Ok(id) = id.parse() {
        return Ok(references::project(context, now, id).await?.map(Node::Project));
    }
    if let Ok(id) = id.parse() {
        return Ok(references::experiment(context, now, id)
            .await?
            .map(Node::Experiment));
    }
    if let Ok(id) = id.parse() {
        return Ok(references::job(context, now, id).await?.map(Node::Job));
    }
    if let Ok(id) = id.parse() {
        return Ok(references::dataset(context, now, id).await?.map(Node::Dataset));
    }
    if let Ok(id) = id.parse() {
        return Ok(references::model(context, now, id).await?.map(Node::Model));
    }
    match id.parse() {
        Ok(id) => Ok(worker(context, id).await?.map(Node::Worker)),
        Err(_) => Ok(None),
    }
}

/// One of the caller's open sessions.
async fn session(context: &Context<'_>, id: domain::id::SessionId) -> Result<Option<Session>> {
    let (app, user) = (app(context)?, user(context)?);
    let own = Viewer::of(user, app.now());
    let row = read_model::find::<Sessions>(&app.read_models, &own, AsOf::Now, id.0).await;
    let row = row.map_err(|error| read_failed(&error))?;
    let row = row.filter(|row| row.user_id == user.user && !row.revoked && row.expires_at > app.now());
    let current = caller(context)?.session() == Some(id);
    Ok(row.map(|row| Session(row, current)))
}

/// A worker that has not gone, for who may read trainings.
pub(super) async fn worker(context: &Context<'_>, id: WorkerId) -> Result<Option<Worker>> {
    if !caller(context)?.principal.holds(Action::TrainingRead) {
        return Ok(None);
    }
    let found = projections::jobs::worker::there(&app(context)?.read_models).await;
    let found = found.map_err(|error| read_failed(&error))?;
    let viewer = viewer(context)?;
    let mut found = found.into_iter();
    Ok(found
        .find(|one| one.worker.id == id)
        .map(|one| Worker(one, viewer)))
}
