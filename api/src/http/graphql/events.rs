//! The events of GraphQL over server-sent events, as they are written.
//!
//! One rule: an event is `next` with one response, or `complete`, which is the last.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::media::Media;

/// The last event. Its data is empty and there, since browsers drop events without data.
pub(super) const COMPLETE: &str = "event: complete\ndata: \n\n";

/// An event with a response. JSON as serde writes it has no line breaks, so it is one line of data.
pub(super) fn next(json: &str, position: Option<&str>) -> String {
    let id = position.map_or_else(String::new, |position| format!("id: {position}\n"));
    format!("event: next\n{id}data: {json}\n\n")
}

/// A whole stream of one response, for requests that are not run.
pub(super) fn only(json: &str) -> Response {
    response(Body::from(next(json, None) + COMPLETE))
}

/// An answer of events.
pub(super) fn response(events: Body) -> Response {
    const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
    let headers = [
        (header::CONTENT_TYPE, Media::EventStream.content_type()),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, events).into_response()
}
