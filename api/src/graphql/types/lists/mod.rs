//! What lists of objects can be filtered and ordered by, one file per context.
//!
//! One rule: a filter names columns of its read model and an order one that always has a value; the statements are made
//! of them in `projections::read_model`.

mod datasets;
mod jobs;
mod models;
mod projects;
mod users;
mod workers;

pub use datasets::{DatasetFilter, DatasetOrder};
pub use jobs::{JobFilter, JobOrder};
pub use models::{ModelFilter, ModelOrder};
pub use projects::{ExperimentFilter, ExperimentOrder, ProjectFilter, ProjectOrder};
pub use users::{UserFilter, UserOrder};
pub use workers::{WorkerFilter, WorkerOrder, page_of as page_of_workers};
