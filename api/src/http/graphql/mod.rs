//! The GraphQL endpoint: one path that speaks HTTP, server-sent events and WebSocket (GQ-5).
//!
//! One rule: every transport runs the same five checks, in this order: where the request comes from (`origin`), what
//! it says (`params`), what it may cost ([`crate::graphql::guard`]), who asks ([`Executor::authenticate`]), and what
//! may be said of failures (`mask`).
//!
//! The library's own integration is not used: it answers with the wrong media types and status codes, runs
//! mutations by GET and from forms, bypasses the body limit, and closes sockets with codes that clients
//! misread. What is here follows GraphQL over HTTP (draft of 2025), the `graphql-transport-ws` protocol and
//! the distinct connections mode of GraphQL over SSE.

mod auth_error;
mod body;
mod content_type;
mod credentials;
mod documents;
mod events;
mod executor;
mod http;
mod mask;
mod media;
mod operation;
mod options;
mod origin;
mod params;
mod rejection;
mod running;
mod sse;
mod streams;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::http::request::Parts;
use axum::routing::any;
use domain::id::SystemIds;

pub use auth_error::AuthError;
pub use credentials::{Credentials, Transport};
pub use executor::{Executor, ResumeFrom, SessionEnd};
pub use options::EndpointOptions;

use super::server::{RequestId, Shutdown};
use documents::Documents;
use running::Running;
use streams::Streams;

/// Where GraphQL is served.
pub const GRAPHQL: &str = "/graphql";

/// The GraphQL endpoint of an executor. Clones share it.
#[derive(Clone)]
pub struct GraphqlEndpoint<E> {
    executor: E,
    options: Arc<EndpointOptions>,
    shutdown: Shutdown,
    /// What was read of documents that come again.
    documents: Documents,
    /// One place for each socket and each event stream.
    streams: Streams,
    /// Whose turn it is among the operations of an account.
    running: Running,
}

impl<E: Executor> GraphqlEndpoint<E> {
    /// An endpoint that closes its sockets and event streams when `shutdown` begins.
    #[must_use]
    pub fn new(executor: E, options: EndpointOptions, shutdown: Shutdown) -> Self {
        let (streams, running) = (Streams::new(&options), Running::new(&options));
        Self {
            executor,
            options: Arc::new(options),
            shutdown,
            documents: Documents::default(),
            streams,
            running,
        }
    }

    /// The route [`GRAPHQL`], for every method and for the upgrade to WebSocket.
    pub fn router(self) -> Router {
        Router::new()
            .route(GRAPHQL, any(http::answer::<E>))
            .with_state(Arc::new(self))
    }
}

/// The id that the common layers gave the request; a fresh one where a router lacks them.
fn request_id(parts: &Parts) -> RequestId {
    parts
        .extensions
        .get::<RequestId>()
        .cloned()
        .unwrap_or_else(|| RequestId::fresh(&SystemIds))
}
