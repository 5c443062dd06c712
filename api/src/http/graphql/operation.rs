//! Running one operation: with a time-out, with a net under panics, with errors masked.

use std::panic::AssertUnwindSafe;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerError, Value};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use std::collections::BTreeMap;

use super::executor::Executor;
use super::running::NotNow;
use super::{GraphqlEndpoint, mask};
use crate::http::server::{RequestId, panic_text};

/// Runs a query or a mutation in the turn of its account to its end, or to the end of its time.
pub(super) async fn execute<E: Executor>(
    endpoint: &GraphqlEndpoint<E>,
    caller: &E::Caller,
    request: Request,
    request_id: &RequestId,
) -> Response {
    let _turn = match endpoint.executor.account(caller) {
        Some(holder) => match endpoint.running.turn(&holder).await {
            Ok(turn) => Some(turn),
            Err(NotNow) => return failed(mask::not_now(request_id)),
        },
        None => None,
    };
    let running = AssertUnwindSafe(endpoint.executor.execute(caller, request)).catch_unwind();
    let mut response = match tokio::time::timeout(endpoint.options.request_timeout, running).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(%request_id, panic = panic_text(&*panic), "a resolver panicked");
            failed(mask::internal(request_id))
        }
        Err(_) => {
            tracing::warn!(%request_id, "a request timed out");
            failed(mask::timed_out(request_id))
        }
    };
    mask::mask(&mut response, request_id);
    response
}

/// The responses of any operation: one of a query or a mutation, many of a subscription.
pub(super) fn responses<E: Executor>(
    endpoint: GraphqlEndpoint<E>,
    caller: E::Caller,
    request: Request,
    kind: OperationType,
    request_id: RequestId,
) -> BoxStream<'static, Response> {
    if kind != OperationType::Subscription {
        return stream::once(async move { execute(&endpoint, &caller, request, &request_id).await }).boxed();
    }
    let events = AssertUnwindSafe(endpoint.executor.subscribe(&caller, request)).catch_unwind();
    let events = events.map(move |event| match event {
        Ok(mut response) => {
            mask::mask(&mut response, &request_id);
            response
        }
        Err(panic) => {
            tracing::error!(%request_id, panic = panic_text(&*panic), "a subscription panicked");
            failed(mask::internal(&request_id))
        }
    });
    events.boxed()
}

/// Like [`responses`], by the rights that the caller has when the operation begins: for connections that outlive a request.
pub(super) fn responses_by_present_rights<E: Executor>(
    endpoint: GraphqlEndpoint<E>,
    caller: E::Caller,
    request: Request,
    kind: OperationType,
    request_id: RequestId,
) -> BoxStream<'static, Response> {
    let begun = async move {
        match endpoint.executor.refresh(&caller).await {
            Ok(caller) => responses(endpoint, caller, request, kind, request_id),
            Err(error) => stream::once(std::future::ready(error.response())).boxed(),
        }
    };
    // What begins it is gone when it has begun.
    stream::once(begun.boxed()).flatten().boxed()
}

fn failed(error: ServerError) -> Response {
    Response::from_errors(vec![error])
}

/// Whether a response says that nothing was executed: it was not parsed, not valid, not started.
pub(super) fn is_request_error(response: &Response) -> bool {
    response.is_err()
        && response.data == Value::Null
        && response.errors.iter().all(|error| error.path.is_empty())
}

/// A response as clients get it. The library always writes `data`; the specification wants none on
/// request errors.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(skip_serializing_if = "<[ServerError]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: &'a BTreeMap<String, Value>,
}

/// Writes a response as JSON.
///
/// # Errors
/// When a scalar of the schema cannot be written as JSON.
pub(super) fn to_json(response: &Response) -> serde_json::Result<String> {
    serde_json::to_string(&Wire {
        errors: &response.errors,
        data: (!is_request_error(response)).then_some(&response.data),
        extensions: &response.extensions,
    })
}

/// Writes a response as JSON, and in the place of one that cannot be written says so.
pub(super) fn to_json_or_internal(response: &Response, request_id: &RequestId) -> String {
    to_json(response)
        .or_else(|error| {
            tracing::error!(%request_id, %error, "a response cannot be written as JSON");
            to_json(&failed(mask::internal(request_id)))
        })
        .unwrap_or_else(|_| {
            String::from(r#"{"errors":[{"message":"the server failed","extensions":{"code":"INTERNAL"}}]}"#)
        })
}
