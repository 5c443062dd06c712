//! The GraphQL endpoint as clients use it: a real server on its own port with a small schema.
//!
//! One rule: every test talks over TCP; what is said to be closed, cut or refused is seen from outside.

mod bounds;
mod conformance;
mod encodings;
mod introspection;
mod over_http;
mod schema;
mod server;
mod sse;
mod support;
mod websocket;
