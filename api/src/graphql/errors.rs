//! How failures are worded for clients: top-level errors, each with a code.
//!
//! One rule: this module knows no context, so everything in this folder can use it.

use async_graphql::{Error, ErrorExtensions};
use domain::{
    authz::{Concealment, Denied},
    event_store::StoreError,
};
use projections::read_model::ReadError;

use crate::app::for_clients;

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

/// A failed read: clients learn whether it may do later, the log learns why.
#[must_use]
pub fn read_failed(error: &ReadError) -> Error {
    match error {
        ReadError::NotServed(_) => error_with_code("UNAVAILABLE", error.to_string()),
        error if error.is_outage() => {
            tracing::error!(%error, "the read models cannot be read");
            error_with_code(
                "UNAVAILABLE",
                "the database does not answer at present, try again",
            )
        }
        error => Error::new(error.to_string()),
    }
}

/// A failure of the event store: as [`read_failed`].
#[must_use]
pub fn store_failed(error: &StoreError) -> Error {
    match for_clients(error) {
        Some(words) => {
            tracing::error!(%error, "the event store does not do its work");
            error_with_code("UNAVAILABLE", words)
        }
        None => Error::new(error.to_string()),
    }
}
