//! What clients learn of failures.
//!
//! One rule: an error without a code of ours was not made for clients. It becomes `INTERNAL` with the
//! request's id, and its own words go to the log, once.

use async_graphql::{ErrorExtensionValues, Response, ServerError};

use crate::http::server::RequestId;

/// Gives each error its code and hides those that were not made for clients.
pub(super) fn mask(response: &mut Response, request_id: &RequestId) {
    for error in &mut response.errors {
        let has_code = error
            .extensions
            .as_ref()
            .is_some_and(|extensions| extensions.get("code").is_some());
        if has_code {
            continue;
        }
        if is_the_clients(error) {
            error
                .extensions
                .get_or_insert_default()
                .set("code", "BAD_USER_INPUT");
        } else {
            tracing::error!(%request_id, path = ?error.path, error = error.message, "a resolver failed");
            *error = ServerError {
                locations: error.locations.clone(),
                path: error.path.clone(),
                ..internal(request_id)
            };
        }
    }
}

/// Whether the library made the error because of what the client sent: validation leaves the path empty,
/// reading an input leaves its own words; neither has a Rust error as its source.
fn is_the_clients(error: &ServerError) -> bool {
    let input = ["Failed to parse \"", "Expected input type \""];
    let about_input = input.iter().any(|words| error.message.starts_with(words));
    error.source.is_none() && (error.path.is_empty() || about_input)
}

/// The answer to a failure of the server.
pub(super) fn internal(request_id: &RequestId) -> ServerError {
    error_with_code(
        "INTERNAL",
        "the server failed; give the request id to its operator",
        request_id,
    )
}

/// The answer when the time for a request is up.
pub(super) fn timed_out(request_id: &RequestId) -> ServerError {
    error_with_code(
        "UNAVAILABLE",
        "the request timed out; ask for less, or try again. A mutation may have been recorded: repeat it with the same \
         clientRequestId, or look before you repeat it without one",
        request_id,
    )
}

/// The answer when an account has as much under way as it may.
pub(super) fn not_now(request_id: &RequestId) -> ServerError {
    error_with_code(
        "UNAVAILABLE",
        "too many operations of this account are under way; nothing was done: try again later, with fewer at the same time",
        request_id,
    )
}

fn error_with_code(code: &str, message: &str, request_id: &RequestId) -> ServerError {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    extensions.set("requestId", request_id.as_str());
    ServerError {
        extensions: Some(extensions),
        ..ServerError::new(message, None)
    }
}
