//! The API: GraphQL over HTTP, WebSocket and server-sent events, and plain HTTP where GraphQL does not fit.
//!
//! One rule: nothing is decided here. A transport reads a request, finds out who asks, hands a command or a query to
//! the write or the read side, and words the answer.

pub mod app;
pub mod auth;
pub mod graphql;
pub mod http;
pub mod ingest;
pub mod rate;
pub mod sessions;
