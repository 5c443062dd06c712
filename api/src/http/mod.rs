//! Plain HTTP and GraphQL's endpoint.
//!
//! One rule: [`router`] is all that is served, and [`endpoints`] lists it; a route that is not in the list cannot be
//! reached.

pub mod graphql;
pub mod problem;
mod query_string;
pub mod routes;
pub mod server;
pub mod shares;

use axum::Router;

use graphql::{Executor, GRAPHQL, GraphqlEndpoint};
use routes::{Endpoint, Routes};

/// The plain routes and GraphQL, without common layers.
pub fn router<E: Executor>(routes: Routes, graphql: GraphqlEndpoint<E>) -> Router {
    routes.router().merge(graphql.router())
}

/// Everything that [`router`] answers to.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    let graphql = Endpoint {
        method: None,
        path: GRAPHQL,
    };
    routes::endpoints().chain([graphql]).collect()
}
