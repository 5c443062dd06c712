//! The door as clients meet it: a real server on a port of its own, a small schema behind it.
//!
//! One rule: every test talks over TCP; what is said to be closed, cut or refused is seen from outside.

mod conformance;
mod encodings;
mod over_http;
mod schema;
mod server;
mod socket;
mod sse;
mod support;
