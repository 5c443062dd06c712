//! GraphQL over WebSocket, the `graphql-transport-ws` protocol of graphql-ws (PROTOCOL.md).
//!
//! One rule: a socket never grows. Messages in and out, operations and time are all bounded, and a peer
//! that does not read is cut off so that it comes back and resumes.

mod close;
mod message;
mod outbox;
mod session;

use std::panic::AssertUnwindSafe;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use futures::FutureExt;
use tracing::Instrument;

use super::credentials::{Credentials, Transport};
use super::executor::Executor;
use super::media::Media;
use super::rejection::Rejection;
use super::{GraphqlEndpoint, origin, request_id};
use crate::http::server::panic_text;
use crate::http::shares::Holder;
use session::Session;

/// The one subprotocol that is spoken here; the older `graphql-ws` is not.
const PROTOCOL: &str = "graphql-transport-ws";

/// Bytes that a socket reads at once, and holds while it is idle. The library's 128 KiB would be most of what an idle
/// socket costs; clients send little, and a longer message makes room for itself.
const READ_BUFFER: usize = 2 * 1024;

/// Whether a request asks to become a WebSocket.
pub(super) fn is_wanted(parts: &Parts) -> bool {
    let upgrade = parts
        .headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Turns a request into a socket, if its origin may have one and there is room for it.
pub(super) async fn upgrade<E: Executor>(endpoint: GraphqlEndpoint<E>, mut parts: Parts) -> Response {
    let id = request_id(&parts);
    if let Err(rejection) = origin::check(&parts, &endpoint.options.allowed_origins) {
        return rejection.into_response(Media::Json, &id);
    }
    let place = match endpoint.streams.take(&parts) {
        Ok(place) => place,
        Err(full) => return full.into_response(Media::Json, &id),
    };
    // What is wrong with the credentials is said in the protocol: browsers cannot read a refused upgrade.
    let credentials = Credentials::of(&parts, id.clone(), Transport::Socket);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            let rejection = Rejection::new(refused.status(), refused.body_text());
            return rejection.into_response(Media::Json, &id);
        }
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        // Longer messages are refused by the session, which can say why; these would only break the socket.
        .max_message_size(endpoint.options.message_bytes.saturating_mul(4))
        .max_frame_size(endpoint.options.message_bytes.saturating_mul(4))
        .read_buffer_size(READ_BUFFER);
    let address = Holder::of(&parts);
    let speaks = upgrade.selected_protocol().is_some();
    let token = endpoint.shutdown.tasks.token();
    let span = tracing::info_span!("socket", request_id = %id);
    upgrade.on_upgrade(move |socket| {
        async move {
            let _counted = Counted::new();
            let talking = Session::new(endpoint, socket, credentials, address, id.clone()).run(speaks);
            if let Err(panic) = AssertUnwindSafe(talking).catch_unwind().await {
                tracing::error!(request_id = %id, panic = panic_text(&*panic), "a socket panicked");
            }
            drop((place, token));
        }
        .instrument(span)
    })
}

/// One socket in the metrics, however it ends.
struct Counted(metrics::Gauge);

impl Counted {
    fn new() -> Self {
        let gauge = metrics::gauge!("graphql_sockets");
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
