//! What is recorded of access that is not a command: refused reads, and an administrator's look at others' things (AC-4).
//!
//! One rule: a look is on record before it is answered; when it cannot be recorded, it is not answered. It costs one
//! append per person, thing and hour, and a look-up in memory afterwards.

use std::convert::Infallible;

use domain::{
    aggregate::{Aggregate, LoadError, load},
    audit::record::{Look, record_looks},
    authz::{self, Action, Allowed, Denied, Resource, Shared},
    datasets::dataset::Dataset,
    execute::{ExecuteError, record_denial},
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId},
    jobs::job::Job,
    models::model::Model,
    projects::{experiment::Experiment, project::Project},
    shared,
};

use super::{App, Caller, TIMEOUT};

/// The rule of [`authz::decide`] that lets an administrator see what belongs to others.
const ADMINISTRATOR: &str = "administrator";

/// Why a read is not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadRefused {
    /// The caller may not. Recorded or counted.
    #[error(transparent)]
    Denied(Denied),
    /// It could not be recorded; the process log has the reason.
    #[error("what is asked for has to be recorded, and that is not possible at present: try again")]
    NotRecorded,
}

fn not_recorded(error: &dyn std::fmt::Display) -> ReadRefused {
    tracing::error!(%error, "a read could not be recorded, so it is not answered");
    ReadRefused::NotRecorded
}

impl App {
    /// Decides a read or the admission to one, and records what has to be: a denial, or an administrator's look.
    ///
    /// # Errors
    /// See [`ReadRefused`].
    pub async fn permit(
        &self,
        caller: &Caller,
        action: Action,
        resource: &Resource,
    ) -> Result<(), ReadRefused> {
        match authz::decide(
            &caller.principal,
            action,
            resource,
            &caller.circumstances(self.now()),
        ) {
            Ok(allowed) => {
                let looks: Vec<Look> = look(action, resource, &allowed).into_iter().collect();
                self.record_looks(caller, &looks).await
            }
            Err(denied) => {
                self.record_denial(caller, &denied).await?;
                Err(ReadRefused::Denied(denied))
            }
        }
    }

    /// Records or counts a denial; nothing of those who are not signed in.
    ///
    /// # Errors
    /// [`ReadRefused::NotRecorded`].
    pub async fn record_denial(&self, caller: &Caller, denied: &Denied) -> Result<(), ReadRefused> {
        if caller.user().is_none() {
            return Ok(());
        }
        let actor = caller.principal.actor();
        let recording = record_denial::<Infallible>(&self.ports, &actor, &caller.meta, denied);
        within_time(recording).await
    }

    /// Records those looks that are not on record yet.
    ///
    /// # Errors
    /// [`ReadRefused::NotRecorded`].
    pub async fn record_looks(&self, caller: &Caller, looks: &[Look]) -> Result<(), ReadRefused> {
        let actor = caller.principal.actor();
        within_time(record_looks(&self.ports, &actor, &caller.meta, looks)).await
    }

    /// What the decision says of reading the thing with this global id; `None` where there is no such thing.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn decide_read(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Option<Result<Option<Look>, Denied>>, ReadRefused> {
        let found = self.resource_of(id).await.map_err(|error| not_recorded(&error))?;
        let existing = found.filter(|(_, resource)| resource.exists);
        Ok(existing.map(|(action, resource)| {
            authz::decide(
                &caller.principal,
                action,
                &resource,
                &caller.circumstances(self.now()),
            )
            .map(|allowed| look(action, &resource, &allowed))
        }))
    }

    /// The thing with this global id, and the right that reading it takes.
    async fn resource_of(&self, id: &str) -> Result<Option<(Action, Resource)>, LoadError> {
        Ok(if let Ok(id) = id.parse::<JobId>() {
            Some((Action::TrainingRead, self.folded::<Job>(id).await?.resource(id)))
        } else if let Ok(id) = id.parse::<DatasetId>() {
            Some((Dataset::READ, self.shared::<Dataset>(id).await?))
        } else if let Ok(id) = id.parse::<ModelId>() {
            Some((Model::READ, self.shared::<Model>(id).await?))
        } else if let Ok(id) = id.parse::<ProjectId>() {
            Some((Project::READ, self.shared::<Project>(id).await?))
        } else if let Ok(id) = id.parse::<ExperimentId>() {
            match self.folded::<Experiment>(id).await?.project {
                Some(project) => {
                    let resource = self.shared::<Project>(project).await?;
                    let name = id.to_string();
                    Some((Action::ExperimentsRead, Resource { name, ..resource }))
                }
                None => None,
            }
        } else {
            None
        })
    }

    async fn shared<T: Shared>(&self, id: T::Id) -> Result<Resource, LoadError> {
        let (_, resource) = shared::load::<T>(self.ports.store.as_ref(), id).await?;
        Ok(resource)
    }

    async fn folded<A: Aggregate>(&self, id: impl std::fmt::Display) -> Result<A, LoadError> {
        Ok(load::<A>(self.ports.store.as_ref(), id).await?.state)
    }
}

/// The look that a permitted read is, if it is one at what belongs to others: by the administrator's rule, or at people
/// and what they did.
fn look(action: Action, resource: &Resource, allowed: &Allowed) -> Option<Look> {
    match action {
        Action::UsersRead | Action::AuditRead => Some(Look::List(resource.name.clone())),
        _ if action.verb() != "read" || allowed.rule != ADMINISTRATOR => None,
        _ if resource.owned => Some(Look::Thing(resource.name.clone())),
        _ => None,
    }
}

async fn within_time(
    recording: impl Future<Output = Result<(), ExecuteError<Infallible>>>,
) -> Result<(), ReadRefused> {
    match tokio::time::timeout(TIMEOUT, recording).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(not_recorded(&error)),
        Err(elapsed) => Err(not_recorded(&elapsed)),
    }
}
