//! The objects with a global id, each a row and what it was read for.
//!
//! One rule: no fields stand here. Objects lead to each other, so what they are is told apart from what they show.

use projections::{
    datasets::dataset::DatasetRow,
    identity::{session::SessionRow, user::UserRow},
    jobs::{job::JobRow, worker::ActiveWorker},
    models::model::ModelRow,
    projects::{experiment::ExperimentRow, project::ProjectRow},
    read_model::Viewer,
};

use crate::graphql::as_of::ResolvedAsOf;

/// A project.
pub struct Project(pub ProjectRow, pub ResolvedAsOf);

impl Project {
    /// A project as it stands.
    #[must_use]
    pub fn now(row: ProjectRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
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

/// A dataset.
pub struct Dataset(pub DatasetRow, pub ResolvedAsOf);

impl Dataset {
    /// A dataset as it stands.
    #[must_use]
    pub fn now(row: DatasetRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }
}

/// A model.
pub struct Model(pub ModelRow, pub ResolvedAsOf);

impl Model {
    /// A model as it stands.
    #[must_use]
    pub fn now(row: ModelRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }
}

/// A job.
pub struct Job(pub JobRow, pub ResolvedAsOf);

impl Job {
    /// A job as it stands.
    #[must_use]
    pub fn now(row: JobRow) -> Self {
        Self(row, ResolvedAsOf::NOW)
    }
}

/// An account.
pub struct User(pub UserRow);

/// A login and all refreshes that descend from it.
pub struct Session(pub SessionRow, pub bool);

/// A worker that is there, as the caller may see it.
pub struct Worker(pub ActiveWorker, pub Viewer);
