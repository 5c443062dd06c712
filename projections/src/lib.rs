//! The read side: projections fold the log into read models, and queries read those.
//!
//! One rule: a read model is one file, with its row, its fold and its queries; it knows the log and its own
//! table, nothing else. Rows can always be thrown away and folded again.

pub mod access;
pub mod audit;
pub mod by_id;
pub mod database;
pub mod datasets;
pub mod feed;
pub mod history;
pub mod identity;
pub mod jobs;
pub mod lease;
pub mod models;
pub mod paging;
mod position;
pub mod projects;
pub mod read_model;
pub mod rebuild;
pub mod runner;

use read_model::{Projector, Table};

/// The names of those whose rows may hold personal data: to be folded anew when a person is erased.
#[must_use]
pub fn personal() -> Vec<&'static str> {
    let personal = all().into_iter().filter(|projector| projector.personal());
    personal.map(|projector| projector.name()).collect()
}

/// Every projection of the system, in no particular order.
#[must_use]
pub fn all() -> Vec<Box<dyn Projector>> {
    vec![
        Box::new(Table::<access::account::Accounts>::default()),
        Box::new(Table::<access::assignment::Assignments>::default()),
        Box::new(Table::<access::role::Roles>::default()),
        Box::new(Table::<access::usage::Usages>::default()),
        Box::new(Table::<audit::entry::Entries>::default()),
        Box::new(Table::<datasets::dataset::Datasets>::default()),
        Box::new(Table::<datasets::version::Versions>::default()),
        Box::new(Table::<identity::erasure::Erasures>::default()),
        Box::new(Table::<identity::session::Sessions>::default()),
        Box::new(Table::<identity::user::Users>::default()),
        Box::new(Table::<jobs::job::Jobs>::default()),
        Box::new(Table::<jobs::worker::Workers>::default()),
        Box::new(Table::<models::model::Models>::default()),
        Box::new(Table::<models::version::Versions>::default()),
        Box::new(Table::<projects::experiment::Experiments>::default()),
        Box::new(Table::<projects::project::Projects>::default()),
    ]
}
