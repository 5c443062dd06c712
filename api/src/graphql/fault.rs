//! Faults of the caller, as data: what a payload says when nothing was done.

use async_graphql::{OutputType, SimpleObject};

use super::{
    access::AccessErrorCode, datasets::DatasetsErrorCode, identity::IdentityErrorCode, jobs::JobsErrorCode,
    models::ModelsErrorCode, projects::ProjectsErrorCode,
};

/// One fault of an input.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(concrete(name = "IdentityUserError", params(IdentityErrorCode)))]
#[graphql(concrete(name = "AccessUserError", params(AccessErrorCode)))]
#[graphql(concrete(name = "ProjectsUserError", params(ProjectsErrorCode)))]
#[graphql(concrete(name = "DatasetsUserError", params(DatasetsErrorCode)))]
#[graphql(concrete(name = "ModelsUserError", params(ModelsErrorCode)))]
#[graphql(concrete(name = "JobsUserError", params(JobsErrorCode)))]
pub struct Fault<C: OutputType> {
    /// The input's field, as a path; empty when it is about the input as a whole.
    pub path: Vec<String>,
    /// What is wrong and what would be right, in words.
    pub message: String,
    /// What is wrong, for programs. The list of codes may grow.
    pub code: C,
}

impl<C: OutputType> Fault<C> {
    /// A fault of one field.
    pub fn of(path: &str, message: impl Into<String>, code: C) -> Self {
        Self {
            path: path.split('.').map(str::to_owned).collect(),
            message: message.into(),
            code,
        }
    }

    /// A fault of the input as a whole.
    pub fn whole(message: impl Into<String>, code: C) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
            code,
        }
    }
}
