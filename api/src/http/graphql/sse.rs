//! GraphQL over server-sent events, distinct connections mode: one stream for each operation.
//!
//! One rule: `complete` means that nothing more will come. A stream that ends without it was cut off, and
//! the client comes back with the id of the last event it has seen.

use std::convert::Infallible;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Value};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::executor::{Executor, ResumeFrom, SessionEnd};
use super::rejection::Rejection;
use super::streams::StreamPlace;
use super::{GraphqlEndpoint, events, operation};
use crate::http::server::RequestId;
use crate::http::shares::Place;

/// Answers an operation with a stream of events.
pub(super) fn stream<E: Executor>(
    endpoint: &GraphqlEndpoint<E>,
    parts: &Parts,
    caller: E::Caller,
    request: Request,
    kind: OperationType,
    id: &RequestId,
) -> Result<Response, Rejection> {
    let resumed = resume_from(&parts.headers)?;
    if resumed.is_some() && kind != OperationType::Subscription {
        return Err(Rejection::bad_request(
            "only subscriptions can be resumed; leave Last-Event-ID out",
        ));
    }
    let place = endpoint.streams.take(parts)?;
    let account = endpoint.executor.account(&caller);
    let of_account = endpoint.streams.of_account(account.as_ref());
    let of_account = of_account.map_err(Rejection::over_share)?;
    let request = match resumed {
        Some(position) => request.data(position),
        None => request,
    };
    let executor = endpoint.executor.clone();
    let watched = caller.clone();
    let feed = Feed {
        responses: operation::responses(endpoint.clone(), caller, request, kind, id.clone()),
        session_end: async move { executor.session_end(&watched).await }.boxed(),
        shutdown: endpoint.shutdown.token.clone(),
        phase: Phase::Live,
        keep_alive: endpoint.options.keep_alive,
        request_id: id.clone(),
        _places: (place, of_account),
    };
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    Ok(events::response(Body::from_stream(events)))
}

/// The position after which the client wants to go on, if it has one. An empty id is none: that is what a client has
/// before its first event (HTML, 9.2.5).
///
/// # Errors
/// 400 for anything else that is no position: a client that believes to resume must not be started anew.
fn resume_from(headers: &HeaderMap) -> Result<Option<ResumeFrom>, Rejection> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let position = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) if value.is_empty() => return Ok(None),
        (Some(value), None) => value.to_str().ok().filter(|text| is_position(text)),
        (Some(_), Some(_)) => None,
    };
    match position {
        Some(text) => Ok(Some(ResumeFrom(text.to_owned()))),
        None => Err(Rejection::bad_request(
            "Last-Event-ID must be the id of an event of this stream: one whole number from 0 to \
             18446744073709551615; leave it out to start anew",
        )),
    }
}

/// Whether a text is a position of the log: a decimal number of up to 64 bits.
fn is_position(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

enum Phase {
    /// Responses come.
    Live,
    /// The last response went out; `complete` is due.
    Ending,
    /// `complete` went out.
    Over,
}

/// One stream of events.
struct Feed {
    responses: BoxStream<'static, async_graphql::Response>,
    session_end: BoxFuture<'static, SessionEnd>,
    shutdown: CancellationToken,
    phase: Phase,
    keep_alive: Duration,
    request_id: RequestId,
    _places: (StreamPlace, Option<Place>),
}

impl Feed {
    /// The next piece of the stream: an event, or a comment when there is none for a while.
    async fn next(&mut self) -> Option<String> {
        match self.phase {
            Phase::Over => return None,
            Phase::Ending => return Some(self.complete()),
            Phase::Live => {}
        }
        tokio::select! {
            biased;
            // No `complete`: the client is meant to come back, to another process.
            () = self.shutdown.cancelled() => None,
            end = &mut self.session_end => {
                self.phase = Phase::Ending;
                let error = Rejection::from(end).error(&self.request_id);
                Some(events::next(&serde_json::json!({ "errors": [error] }).to_string(), None))
            }
            response = self.responses.next() => Some(match response {
                Some(response) => {
                    let json = operation::to_json_or_internal(&response, &self.request_id);
                    events::next(&json, position(&response).as_deref())
                }
                None => self.complete(),
            }),
            () = tokio::time::sleep(self.keep_alive) => Some(String::from(":\n\n")),
        }
    }

    fn complete(&mut self) -> String {
        self.phase = Phase::Over;
        String::from(events::COMPLETE)
    }
}

/// The position that a subscription gave its response.
fn position(response: &async_graphql::Response) -> Option<String> {
    let position = match response.extensions.get("position")? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    is_position(&position).then_some(position)
}
