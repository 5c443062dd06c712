//! What a route is told in its path and its query string.
//!
//! One rule: whatever cannot be read is refused with a problem that names it; nothing is guessed, mended or passed over.

use axum::{
    extract::{
        FromRequestParts, Path, Query,
        path::ErrorKind,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::http::{problem::Problem, query_string};

/// The parameters of the path.
pub(super) struct InPath<T>(pub(super) T);

/// The parameters of the query string.
pub(super) struct InQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(parameters) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| unreadable_path(&rejection))?;
        Ok(Self(parameters))
    }
}

fn unreadable_path(rejection: &PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        tracing::error!(error = %rejection, "a route does not fit its path");
        return Problem::internal();
    };
    let detail = match failed.kind() {
        ErrorKind::InvalidUtf8InPathParam { key } => format!("'{key}' in the path is not in UTF-8"),
        ErrorKind::ParseError { value, .. }
        | ErrorKind::ParseErrorAtIndex { value, .. }
        | ErrorKind::ParseErrorAtKey { value, .. } => {
            format!("'{value}' in the path is not a whole number from 0 to 4294967295")
        }
        other => {
            tracing::error!(error = %other, "a route does not fit its path");
            return Problem::internal();
        }
    };
    Problem::new(StatusCode::BAD_REQUEST).detail(detail)
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST).detail(detail);
        if !query_string::is_utf8(parts.uri.query().unwrap_or_default()) {
            return Err(bad("the query string is not in UTF-8".to_owned()));
        }
        let read = Query::try_from_uri(&parts.uri);
        let Query(parameters) =
            read.map_err(|rejection| bad(format!("the query string cannot be read: {}", said(&rejection))))?;
        Ok(Self(parameters))
    }
}

/// What the reader says, which begins with the parameter's name.
fn said(rejection: &QueryRejection) -> String {
    let text = rejection.body_text();
    let said = text.strip_prefix("Failed to deserialize query string: ");
    let said = said.unwrap_or(&text);
    // The standard library's words for a text that is no number name no form.
    match said.split_once(": ") {
        Some((name, "invalid digit found in string" | "cannot parse integer from empty string")) => {
            format!("{name} must be a whole number, not negative")
        }
        Some((name, "number too large to fit in target type")) => format!("{name} is too large a number"),
        _ => said.to_owned(),
    }
}
