//! GraphQL over HTTP: POST for everything, GET for queries.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth_error::AuthError;
use super::credentials::{Credentials, Transport};
use super::executor::Executor;
use super::media::{self, Media};
use super::params::Params;
use super::rejection::Rejection;
use super::{GraphqlEndpoint, body, content_type, operation, origin, request_id, sse, websocket};
use crate::http::{problem::RETRY_AFTER, server::RequestId};

/// Answers all requests to the endpoint's path.
pub(super) async fn answer<E: Executor>(
    State(endpoint): State<Arc<GraphqlEndpoint<E>>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if websocket::is_wanted(&parts) {
        // Apart, so that other requests have no room for it.
        return Box::pin(websocket::upgrade(GraphqlEndpoint::clone(&endpoint), parts)).await;
    }
    let id = request_id(&parts);
    let media = media::negotiate(&parts.headers);
    // The body is read before anything is refused; see `body::read`.
    let body = match parts.method {
        Method::GET | Method::HEAD => Ok(Bytes::new()),
        _ => {
            body::read(
                body,
                endpoint.options.body_bytes,
                endpoint.options.request_timeout,
            )
            .await
        }
    };
    let outcome = match media {
        Some(media) => respond(&endpoint, &parts, body, media, &id).await,
        None => Err(Rejection::new(
            StatusCode::NOT_ACCEPTABLE,
            "accept application/graphql-response+json, application/json or text/event-stream",
        )),
    };
    outcome.unwrap_or_else(|rejection| rejection.into_response(media.unwrap_or(Media::Json), &id))
}

async fn respond<E: Executor>(
    endpoint: &GraphqlEndpoint<E>,
    parts: &Parts,
    body: Result<Bytes, Rejection>,
    media: Media,
    id: &RequestId,
) -> Result<Response, Rejection> {
    origin::check(parts, &endpoint.options.allowed_origins)?;
    let params = match parts.method {
        Method::POST => {
            let body = body?;
            content_type::check_content_type(&parts.headers)?;
            Params::from_body(&body)
        }
        Method::GET => Params::from_query_string(parts.uri.query().unwrap_or_default()),
        _ => {
            return Err(Rejection::method(
                "GET, POST",
                "send GraphQL by POST, or queries by GET",
            ));
        }
    };
    let params = params.map_err(Rejection::bad_request)?;
    let mut request = params.into_request(&endpoint.options.limits)?;
    let (kind, document) = endpoint.documents.check(&mut request, &endpoint.options.limits)?;
    if parts.method == Method::GET && kind == OperationType::Mutation {
        return Err(Rejection::method("POST", "mutations need POST"));
    }
    if media == Media::EventStream {
        let caller = authenticate(
            endpoint,
            Credentials::of(parts, id.clone(), Transport::EventStream)?,
        )
        .await?;
        return sse::stream(endpoint, parts, caller, request, kind, id);
    }
    if kind == OperationType::Subscription {
        let message = "subscriptions need a WebSocket, or 'Accept: text/event-stream'";
        return Err(Rejection::bad_request(message));
    }
    let caller = authenticate(endpoint, Credentials::of(parts, id.clone(), Transport::Http)?).await?;
    if endpoint.executor.account(&caller).is_some() {
        endpoint.documents.keep(document);
    }
    let response = operation::execute(endpoint, &caller, request, id).await;
    Ok(finished(&response, media, id))
}

/// Finds the caller, within the time of a request.
pub(super) async fn authenticate<E: Executor>(
    endpoint: &GraphqlEndpoint<E>,
    credentials: Credentials,
) -> Result<E::Caller, AuthError> {
    let authenticating = endpoint.executor.authenticate(credentials);
    tokio::time::timeout(endpoint.options.request_timeout, authenticating)
        .await
        .unwrap_or(Err(AuthError::Unavailable))
}

/// The answer with what was executed; headers that resolvers set (cookies) go along.
fn finished(response: &async_graphql::Response, media: Media, id: &RequestId) -> Response {
    let has = |wanted: &str| {
        response.errors.iter().any(|error| {
            let code = error
                .extensions
                .as_ref()
                .and_then(|extensions| extensions.get("code"));
            code.is_some_and(|code| *code == async_graphql::Value::from(wanted))
        })
    };
    let status = match media {
        Media::GraphqlResponse if operation::is_request_error(response) => match () {
            () if has("INTERNAL") => StatusCode::INTERNAL_SERVER_ERROR,
            () if has("UNAVAILABLE") => StatusCode::SERVICE_UNAVAILABLE,
            () => StatusCode::BAD_REQUEST,
        },
        _ => StatusCode::OK,
    };
    let json = operation::to_json_or_internal(response, id);
    let mut answer = (status, [(header::CONTENT_TYPE, media.content_type())], json).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    }
    for (name, value) in &response.http_headers {
        answer.headers_mut().append(name, value.clone());
    }
    answer
}
