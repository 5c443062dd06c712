//! Which host a request is for.
//!
//! One rule: a request names one host, in the form of one, or does nothing (RFC 9112, 3.2). What stands between client
//! and server may otherwise take the request for one to another host than the server does.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::problem::Problem;

/// Refuses requests with no, several or malformed `Host`, in the form of a problem.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match fault(request.version(), request.headers()) {
        None => next.run(request).await,
        Some(fault) => Problem::new(StatusCode::BAD_REQUEST)
            .detail(fault)
            .into_response(),
    }
}

/// What is wrong. HTTP/1.0 knows no `Host`, and HTTP/2 has `:authority` in its place.
fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => {
            Some("the request has no Host header; send 'Host: <name>[:<port>]'")
        }
        (None, _) => None,
        (Some(_), Some(_)) => Some("the request has several Host headers; send one"),
        (Some(host), None) => {
            let fits = host.to_str().is_ok_and(is_host);
            (!fits).then_some("the Host header names no host; send 'Host: <name>[:<port>]'")
        }
    }
}

/// Whether a text is `uri-host [ ":" port ]` (RFC 9110, 7.2). The host may be empty there: requests for something
/// without an authority say so (RFC 9112, 3.2).
fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else {
        return text.is_empty();
    };
    let port = &text[authority.host().len().min(text.len())..];
    let port_fits = port.strip_prefix(':').map_or(port.is_empty(), |port| {
        port.is_empty() || port.parse::<u16>().is_ok()
    });
    !text.contains('@') && port_fits
}
