//! How failures are worded for clients: top-level errors, each with a code.
//!
//! One rule: this module knows neither the application nor a context, so everything in this folder can use it.

use async_graphql::{Error, ErrorExtensions};
use domain::authz::{Concealment, Denied};
use projections::read_model::ReadError;

/// A GraphQL error with a code for clients.
#[must_use]
pub fn error_with_code(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("code", code))
}

/// A denial as a top-level error.
#[must_use]
pub fn denied(denied: &Denied) -> Error {
    match denied.concealment {
        Concealment::NotFound => error_with_code("NOT_FOUND", "not found"),
        Concealment::Forbidden => error_with_code("FORBIDDEN", denied.reason.clone()),
        Concealment::Unauthenticated => error_with_code("UNAUTHENTICATED", denied.reason.clone()),
    }
}

/// A failed read: clients learn that it failed, the log learns why.
#[must_use]
pub fn read_failed(error: &ReadError) -> Error {
    Error::new(error.to_string())
}
