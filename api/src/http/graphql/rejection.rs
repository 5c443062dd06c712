//! Answers to requests that do not reach execution.
//!
//! One rule: a rejection is a GraphQL response with `errors` and without `data`, whatever its status.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::auth_error::AuthError;
use super::events;
use super::executor::SessionEnd;
use super::media::Media;
use crate::graphql::guard::Refusal;
use crate::http::problem::RETRY_AFTER;
use crate::http::server::RequestId;

/// Why a request is not executed.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    /// The request was well-formed HTTP and JSON; then `application/json` answers 200.
    well_formed: bool,
    location: Option<async_graphql::Pos>,
    hint: Hint,
}

/// A header that tells the client how to do better.
#[derive(Clone, Copy, Debug)]
enum Hint {
    None,
    /// The methods that would do.
    Allow(&'static str),
    /// Seconds to wait.
    RetryAfter(u64),
}

impl Rejection {
    /// A request that is wrong as HTTP: its status is the same in every media type.
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "QUERY_TOO_LARGE",
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::FORBIDDEN => "FORBIDDEN",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "RATE_LIMITED",
            _ => "BAD_USER_INPUT",
        };
        Self {
            status,
            code,
            message: message.into(),
            well_formed: false,
            location: None,
            hint: Hint::None,
        }
    }

    /// 400 for requests that say nothing a GraphQL server could read.
    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 405 with the methods that would do.
    pub(super) fn method(allowed: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with_hint(Hint::Allow(allowed))
    }

    /// 429 for who has its whole share of something that is bounded.
    pub(super) fn over_share(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).try_again_later()
    }

    /// With `Retry-After`.
    pub(super) fn try_again_later(self) -> Self {
        self.with_hint(Hint::RetryAfter(u64::from(RETRY_AFTER)))
    }

    fn with_hint(self, hint: Hint) -> Self {
        Self { hint, ..self }
    }

    /// The GraphQL error, as it stands in `errors`.
    pub(super) fn error(&self, request_id: &RequestId) -> Value {
        let mut error = json!({
            "message": self.message,
            "extensions": { "code": self.code, "requestId": request_id },
        });
        if let Some(at) = self.location {
            error["locations"] = json!([{ "line": at.line, "column": at.column }]);
        }
        error
    }

    /// The whole answer. On an event stream, what is wrong with a well-formed request is said as its one event, like
    /// what validation and execution find (GraphQL over SSE, distinct connections mode); what is wrong as HTTP is
    /// said by the status.
    pub(super) fn into_response(self, media: Media, request_id: &RequestId) -> Response {
        let body = json!({ "errors": [self.error(request_id)] }).to_string();
        let media = match media {
            Media::EventStream if self.well_formed => return events::only(&body),
            Media::EventStream => Media::Json,
            media => media,
        };
        let status = if self.well_formed && media == Media::Json {
            StatusCode::OK
        } else {
            self.status
        };
        let mut response = (status, [(header::CONTENT_TYPE, media.content_type())], body).into_response();
        let hint = match self.hint {
            Hint::None => return response,
            Hint::Allow(methods) => (header::ALLOW, HeaderValue::from_static(methods)),
            Hint::RetryAfter(seconds) => (header::RETRY_AFTER, HeaderValue::from(seconds)),
        };
        response.headers_mut().insert(hint.0, hint.1);
        response
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.http_status,
            code: refusal.code.as_str(),
            message: refusal.message,
            well_formed: true,
            location: refusal.location,
            hint: Hint::None,
        }
    }
}

impl From<AuthError> for Rejection {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::Unauthenticated(_) => Self::new(StatusCode::UNAUTHORIZED, message),
            AuthError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, message),
            AuthError::RateLimited { retry_after } => Self::new(StatusCode::TOO_MANY_REQUESTS, message)
                .with_hint(Hint::RetryAfter(retry_after.as_secs().max(1))),
            AuthError::Unavailable => Self {
                code: "UNAVAILABLE",
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with_hint(Hint::RetryAfter(1))
            },
        }
    }
}

impl From<SessionEnd> for Rejection {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Expired => Self::new(StatusCode::UNAUTHORIZED, "the session expired; log in again"),
            SessionEnd::Revoked(reason) => Self::new(StatusCode::FORBIDDEN, reason),
        }
    }
}
