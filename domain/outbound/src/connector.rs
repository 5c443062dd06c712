//! What the HTTP client connects by.
//!
//! One rule: the client has no other way to the network, so every connection passes the guard, for names and for literal
//! addresses alike, with the scheme and port that it is for. It follows no redirect and asks no proxy because nothing here
//! does.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::Connection},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use crate::{
    destination::Destination,
    error::{CallError, Stage},
    guard::Guard,
    outgoing::Outgoing,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The HTTP client below [`crate::Outbound`].
pub(crate) type HttpClient = Client<InTime<HttpsConnector<Guarded>>, Outgoing>;

/// Unused connections that are kept for each destination.
const IDLE_CONNECTIONS: usize = 8;
/// How long they are kept: an address that was judged is not used for longer than this without traffic.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// After how much silence an HTTP/2 connection with calls under way is asked whether it is still there, and how long that
/// may take. Without it one dead connection would fail every call that shares it.
const ALIVE_EVERY: Duration = Duration::from_secs(20);
const ALIVE_WITHIN: Duration = Duration::from_secs(10);
/// The most headers of an answer.
const MOST_HEADERS: usize = 128;

/// An HTTP client whose every connection passes `guard` and is there, with TLS, `within` the time. An answer's head has at
/// most `header_bytes`.
pub(crate) fn client(
    guard: Guard,
    tls: &Arc<rustls::ClientConfig>,
    within: Duration,
    header_bytes: u32,
) -> HttpClient {
    let secure = HttpsConnectorBuilder::new()
        .with_tls_config(rustls::ClientConfig::clone(tls))
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(Guarded { guard, within });
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(usize::try_from(header_bytes).unwrap_or(usize::MAX).max(8_192))
        .http1_max_headers(MOST_HEADERS)
        .http2_max_header_list_size(header_bytes)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .http2_keep_alive_timeout(ALIVE_WITHIN)
        .build(InTime {
            connector: secure,
            within,
        })
}

/// Connects to judged addresses only.
#[derive(Clone)]
pub(crate) struct Guarded {
    guard: Guard,
    within: Duration,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = CallError;
    type Future = Connecting<Self::Response, CallError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (guard, within) = (self.guard.clone(), self.within);
        Box::pin(async move {
            let destination = Destination::of_uri(&uri)?;
            guard.open(&destination, within).await.map(TokioIo::new)
        })
    }
}

/// Ends connecting, TLS included, after a time. It also ends what nobody waits for any more.
#[derive(Clone)]
pub(crate) struct InTime<C> {
    connector: C,
    within: Duration,
}

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Response: Connection,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Connecting<C::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.within, self.connector.call(uri));
        Box::pin(async move {
            let connected = connecting.await;
            connected.unwrap_or_else(|_| Err(CallError::TimedOut(Stage::Connect).into()))
        })
    }
}

/// What a failure of the client means. Its texts are not handed on: they quote what the other side sent.
pub(crate) fn meaning(error: &(dyn std::error::Error + 'static)) -> CallError {
    let mut cause = Some(error);
    let mut found = CallError::Interrupted;
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<CallError>() {
            return *own;
        }
        if error.is::<rustls::Error>() {
            return CallError::Tls;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse_too_large() {
                return CallError::HeadersTooLarge;
            }
            if error.is_parse() {
                found = CallError::Protocol;
            }
        }
        // Ended on our side of HTTP/2: against its rules, or with headers that are too long, which it does not tell apart.
        let ended_here = |error: &h2::Error| error.is_library() && error.reason().is_some();
        if error.downcast_ref::<h2::Error>().is_some_and(ended_here) {
            found = CallError::Protocol;
        }
        // The error inside of another I/O error is no source of it.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    found
}
