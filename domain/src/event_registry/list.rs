//! The list of all aggregates, each with its one type of event.
//!
//! One rule: what goes over all events takes them from here: declarations, samples, contracts, checks, tests.

use super::{Sample, Sampled};
use crate::{
    access::{administrators::Administrators, assignment::Assignments, ledger::QuotaLedger, role::Role},
    aggregate::{Aggregate, Event},
    audit::{collection::Collections, sensitive_read::SensitiveReads},
    authz::denial::Denials,
    datasets::dataset::Dataset,
    identity::{
        login::LoginAttempts, organization::Organization, reservation::Reservation, session::Session,
        tokens::RefusedTokens, user::User,
    },
    jobs::{job::Job, progress::Progress, worker::Worker},
    models::model::Model,
    notifications::delivery::Deliveries,
    personal::KindFields,
    projects::{experiment::Experiment, project::Project},
    request::CompletedRequest,
    sharing::access_list::AccessList,
};

/// Is shown every aggregate of the system.
pub trait Visitor {
    /// Takes a look at `A` and its events.
    fn visit<A: Aggregate>(&mut self);
}

/// A kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What is declared of it.
    pub fields: &'static KindFields,
    /// The category of the streams that hold it.
    pub category: &'static str,
}

fn kinds_of<A: Aggregate>() -> impl Iterator<Item = Kind> {
    A::Event::FIELDS.iter().map(|fields| Kind {
        fields,
        category: A::CATEGORY,
    })
}

fn samples_of<A: Aggregate<Event: Sampled>>() -> Vec<Result<Sample, String>> {
    A::Event::samples()
}

/// Makes the list. An aggregate whose events have no samples does not compile.
macro_rules! aggregates {
    ($($aggregate:ty),+ $(,)?) => {
        /// Every kind that this build records, in the order of the contexts.
        pub fn kinds() -> impl Iterator<Item = Kind> {
            std::iter::empty()$(.chain(kinds_of::<$aggregate>()))+
        }

        /// One sample of each event type and payload shape, in the order of the contexts.
        ///
        /// # Errors
        /// When an event type cannot be written or read back: a defect of that type.
        pub fn samples() -> Result<Vec<Sample>, String> {
            let lists = [$(samples_of::<$aggregate>()),+];
            lists.into_iter().flatten().collect()
        }

        /// Shows every aggregate to `visitor`.
        pub fn visit(visitor: &mut impl Visitor) {
            $(visitor.visit::<$aggregate>();)+
        }
    };
}

aggregates! {
    Role,
    Assignments,
    Administrators,
    QuotaLedger,
    Denials,
    SensitiveReads,
    Collections,
    Reservation,
    LoginAttempts,
    Organization,
    Session,
    RefusedTokens,
    User,
    Project,
    Experiment,
    Dataset,
    Model,
    Job,
    Worker,
    Progress,
    AccessList,
    Deliveries,
    CompletedRequest,
}
