//! How to authenticate, said with every refusal for want of it.
//!
//! One rule: no answer with 401 leaves without a challenge (RFC 9110, 11.6.1), whichever route made it.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Wanted is an access token, and none was sent.
const WANTED: HeaderValue = HeaderValue::from_static("Bearer realm=\"anneal\"");

/// The token that was sent is expired, revoked, malformed or not ours (RFC 6750, 3.1).
const INVALID: HeaderValue = HeaderValue::from_static("Bearer realm=\"anneal\", error=\"invalid_token\"");

/// Adds the challenge to answers with 401.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let challenge = if has_bearer(request.headers()) {
        INVALID
    } else {
        WANTED
    };
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Whether a token was sent. A client that tried another scheme is not told of an error, but what would do
/// (RFC 6750, 3.1).
fn has_bearer(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    values
        .filter_map(|value| value.as_bytes().trim_ascii().split(|byte| *byte == b' ').next())
        .any(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}
