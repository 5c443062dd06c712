//! The read side: projections fold the log into read models, and queries read those.
//!
//! One rule: a read model is one file, with its row, its fold and its queries; it knows the log and its own
//! table, nothing else. Rows can always be thrown away and folded again.

// What `row_derive` writes names this crate from outside and from inside alike.
extern crate self as projections;

pub mod access;
pub mod audit;
pub mod database;
pub mod datasets;
pub mod feed;
pub mod history;
pub mod identity;
pub mod jobs;
pub mod lease;
pub mod models;
pub mod notifications;
pub mod paging;
mod position;
pub mod projects;
pub mod read_model;
pub mod rebuild;
pub mod runner;
pub mod sharing;

use read_model::{Projector, ReadModel, Table};

/// The names of those whose rows may hold personal data: to be folded anew when a person is erased.
#[must_use]
pub fn personal() -> Vec<&'static str> {
    let personal = all().into_iter().filter(|projector| projector.personal());
    personal.map(|projector| projector.name()).collect()
}

/// Is shown every read model of the system.
pub trait Visitor {
    /// Takes a look at `M`.
    fn visit<M: ReadModel>(&mut self);
}

/// The list of all read models. What goes over all of them takes them from here: the runner, rebuilds, checks, tests.
macro_rules! read_models {
    ($($model:ty),+ $(,)?) => {
        /// Every projection of the system, in no particular order.
        #[must_use]
        pub fn all() -> Vec<Box<dyn Projector>> {
            vec![$(Box::new(Table::<$model>::default())),+]
        }

        /// Shows every read model to `visitor`.
        pub fn visit(visitor: &mut impl Visitor) {
            $(visitor.visit::<$model>();)+
        }
    };
}

read_models! {
    access::account::Accounts,
    access::assignment::Assignments,
    access::role::Roles,
    access::usage::Usages,
    audit::entry::Entries,
    datasets::dataset::Datasets,
    datasets::version::Versions,
    identity::erasure::Erasures,
    identity::session::Sessions,
    identity::user::Users,
    jobs::job::Jobs,
    jobs::worker::Workers,
    models::model::Models,
    models::version::Versions,
    projects::experiment::Experiments,
    projects::project::Projects,
    sharing::party::Parties,
}
