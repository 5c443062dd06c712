//! Objects as clients see them, one file per context.
//!
//! One rule: they lead to each other, so what they are (`objects`) stands apart from what they show; what queries and
//! mutations need beside them stays outside and may import this.

mod access_list;
mod access_type;
mod datasets;
mod entities;
mod job_parts;
mod jobs;
mod lists;
mod models;
mod node;
mod objects;
mod projects;
mod references;
mod roles;
mod users;
mod workers;

pub use access_list::{AccessGrant, AccessRole};
pub use access_type::AccessType;
pub use datasets::DatasetVersion;
pub use job_parts::{JobAttempt, JobImport, JobKind, JobState, Requirements};
pub use jobs::list as list_jobs;
pub use lists::*;
pub use models::{Lineage, MergedModel, Metric, ModelContent, ModelFile, ModelVersion, metrics};
pub use node::{Node, find as find_node};
pub use objects::{Dataset, Experiment, Job, Model, Project, Session, User, Worker};
pub use projects::list_experiments;
pub use references::user as user_by_id;
pub use roles::{RoleAssignment, roles_of};
pub use workers::WorkerState;
