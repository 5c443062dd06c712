//! GraphQL: the schema, one file per context, and what guards it.
//!
//! A resolver is short and decides nothing: it reads the input, hands a command to the write path or a
//! question to the read side, and words the answer.

pub mod access;
mod access_notes;
pub mod as_of;
pub mod audit;
pub mod context;
pub mod datasets;
pub mod errors;
pub mod executor;
pub mod filters;
pub mod guard;
pub mod identity;
pub mod ids;
pub mod inputs;
pub mod job_feed;
pub mod jobs;
pub mod loaders;
pub mod models;
pub mod mutation;
pub mod notifications;
pub mod paging;
pub mod projects;
pub mod proofs;
pub mod reads;
pub mod scalars;
pub mod sharing;
pub mod spec;
pub mod system;
pub mod types;
pub mod user_error;
pub mod visibility;
pub mod workers;

use async_graphql::{MergedObject, SchemaBuilder};

/// Queries.
#[derive(Default, MergedObject)]
pub struct Query(
    access::AccessQuery,
    access::RightsQuery,
    as_of::AsOfQuery,
    audit::AuditQuery,
    datasets::DatasetsQuery,
    identity::IdentityQuery,
    identity::ErasureQuery,
    jobs::JobsQuery,
    jobs::JobEstimateQuery,
    models::ModelsQuery,
    notifications::NotificationsQuery,
    projects::ProjectsQuery,
    proofs::ProofsQuery,
    system::SystemQuery,
    workers::WorkersQuery,
);

/// Mutations.
#[derive(Default, MergedObject)]
pub struct Mutation(
    access::AccessMutation,
    datasets::DatasetsMutation,
    identity::IdentityMutation,
    identity::ErasureMutation,
    jobs::JobsMutation,
    jobs::JobControlMutation,
    models::ModelsMutation,
    notifications::NotificationsMutation,
    projects::ProjectsMutation,
    sharing::SharingMutation,
    workers::WorkersMutation,
);

/// The schema, as the specification wants it executed.
pub type AnnealSchema = spec::SpecSchema<Query, Mutation, job_feed::JobFeedSubscription>;

/// What operations cost. A page of 100 of any list passes with all the plain fields of its rows, and none passes that
/// finds more than about 1,900 rows; `tests/it/graphql/cost.rs` holds both.
pub const COST: spec::CostModel = spec::CostModel {
    limit: 50_000,
    row: 25,
    unpaged: 5,
    page: (paging::DEFAULT as u64, paging::MAX as u64),
};
/// Nesting of selections; lets the standard introspection query through.
const DEPTH: usize = 16;

/// The schema without anything behind it.
#[must_use]
pub fn builder() -> SchemaBuilder<Query, Mutation, job_feed::JobFeedSubscription> {
    async_graphql::Schema::build(
        Query::default(),
        Mutation::default(),
        job_feed::JobFeedSubscription,
    )
    .limit_depth(DEPTH)
    .limit_recursive_depth(32)
    .limit_directives(5)
}

/// What the schema is executed with.
#[must_use]
pub fn options() -> spec::SpecOptions {
    spec::SpecOptions {
        cost: Some(COST),
        inputs: inputs::checks(),
        ..spec::SpecOptions::default()
    }
}

/// The schema in the schema definition language, as committed in `schema/schema.graphql`.
#[must_use]
pub fn sdl() -> String {
    builder().finish().sdl_with_options(
        async_graphql::SDLExportOptions::new()
            .sorted_fields()
            .sorted_enum_items()
            .include_specified_by(),
    )
}
