//! Problem details, the form of every error of the plain HTTP routes (RFC 9457).
//!
//! One rule: a problem tells its reader what to do and never how the server works inside.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::server::RequestId;

/// Seconds after which to try again what failed for a reason that passes.
pub(crate) const RETRY_AFTER: u16 = 2;

/// One fault in one member of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// Where the fault is: a JSON pointer into the body (`/email`), or the name of a parameter.
    pub pointer: Cow<'static, str>,
    /// The fault for programs, in the codes of GraphQL's `userErrors`.
    pub code: Cow<'static, str>,
    /// The fault for people.
    pub message: Cow<'static, str>,
}

/// A problem details object; answering with it sets `application/problem+json` and the status.
///
/// The request's id is put in when the answer is made, so no route has to carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem it is: a URI reference, `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The kind in a few words, the same for each occurrence.
    pub title: Cow<'static, str>,
    /// The status of the answer.
    #[serde(serialize_with = "status_number")]
    pub status: StatusCode,
    /// This occurrence, in words for its reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'static, str>>,
    /// The id that the server's log has for this request; `None` until the answer is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Seconds after which the same request may do, as the header `Retry-After`; each 503 has one.
    #[serde(skip)]
    pub retry_after: Option<u16>,
    /// Faults by member, for requests with several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

impl Problem {
    /// A problem that its status describes: type `about:blank`, the status's own words as title.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            kind: Cow::Borrowed("about:blank"),
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            status,
            detail: None,
            request_id: None,
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
            errors: Vec::new(),
        }
    }

    /// 500 without a word on what went wrong; the log has it under the request's id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            .detail("the server failed; give the request id to its operator")
    }

    /// 503 for a failure that passes, with `Retry-After`.
    #[must_use]
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail)
    }

    /// Sets the kind, a URI reference that stays the same across releases.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        self.kind = kind.into();
        self.title = title.into();
        self
    }

    /// Sets the words on this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a fault in one member of the request.
    #[must_use]
    pub fn error(
        mut self,
        pointer: impl Into<Cow<'static, str>>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.errors.push(FieldProblem {
            pointer: pointer.into(),
            code: code.into(),
            message: message.into(),
        });
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.request_id = self.request_id.or_else(RequestId::current);
        let mut response = (self.status, Json(&self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;
    use axum::http::StatusCode;
    use serde_json::json;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457() {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
            .kind("/problems/invalid-user", "The user is invalid")
            .detail("one member is wrong")
            .error("/email", "INVALID", "is not an address");
        let expected = json!({
            "type": "/problems/invalid-user", "title": "The user is invalid", "status": 422,
            "detail": "one member is wrong",
            "errors": [{ "pointer": "/email", "code": "INVALID", "message": "is not an address" }],
        });
        assert_eq!(serde_json::to_value(&problem).expect("serialises"), expected);
    }
}
