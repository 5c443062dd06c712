//! The listening side of HTTP: binding, one task for each connection, limits on time and size, draining.
//!
//! One rule: no peer holds a connection without doing something. Each phase (first bytes, header, idle
//! HTTP/2, drain) ends after a bounded time.

mod admission;
mod bind;
mod body;
mod challenge;
mod connection;
mod encoding;
mod host;
mod layers;
mod panic_message;
mod request_id;

use admission::Admissions;
pub use bind::{BindError, bind};
pub use layers::{LayerOptions, with_common_layers};
pub(crate) use panic_message::panic_text;
pub use request_id::RequestId;

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bounds of the listening side.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How long a peer may take to send a request's header, and its first bytes after connecting.
    pub header_timeout: Duration,
    /// How long a peer may take nothing of what is sent to it: then the connection ends, and what it holds is free.
    pub write_timeout: Duration,
    /// Length of a request's header, in bytes; more is answered with 431. At least 8 KiB.
    pub header_bytes: u32,
    /// Connections at the same time. Further ones get a place of the reserve.
    pub connections: usize,
    /// Of these, from one address: nobody takes all.
    pub connections_per_address: usize,
    /// Places beside these for one request each, which is answered if it is for one of `reserved_for` and turned away
    /// with 429 or 503 otherwise. When they are taken too, a connection is closed as it comes.
    pub reserve: usize,
    /// Paths that the reserve answers, so that health can be asked for whoever takes all connections.
    pub reserved_for: &'static [&'static str],
    /// How long answers in the works may take once the server shuts down.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            header_bytes: 32 * 1024,
            connections: 4_096,
            connections_per_address: 2_048,
            reserve: 64,
            reserved_for: &["/healthz", "/readyz"],
            drain: Duration::from_secs(20),
        }
    }
}

/// How the parts of a server learn that it shuts down, and how it learns that they are done.
///
/// Clones are the same shutdown. Work that outlives its request (sockets) runs in `tasks`, so that
/// [`serve`] waits for it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled once, when the server begins to drain.
    pub token: CancellationToken,
    /// What must have ended before the process does.
    pub tasks: TaskTracker,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Each connection and each socket came to its end.
    Fully,
    /// The time was up with work left, which was cut off.
    TimedOut,
}

/// Serves a router until `shutdown` is cancelled, then lets the work at hand end within the drain time.
///
/// Handlers find the peer's address as `ConnectInfo<SocketAddr>` in the request's extensions.
///
/// # Errors
/// Only when the listener has no local address, at the start; accepting goes on over errors.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    shutdown: &Shutdown,
) -> io::Result<Drained> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening");
    let admissions = Admissions::new(&options);
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = connection::accept(&listener) => accepted,
            Some(ended) = connections.join_next() => {
                note(ended);
                continue;
            }
            () = shutdown.token.cancelled() => break,
        };
        let Some(admission) = admissions.admit(peer.ip()) else {
            metrics::counter!("http_connections_refused_total").increment(1);
            continue; // which closes it
        };
        let (router, options) = admission.apply(router.clone(), options.clone());
        let serving = connection::serve(stream, peer, router, options, shutdown.token.clone());
        connections.spawn(async move {
            serving.await;
            drop(admission);
        });
    }
    drop(listener);
    tracing::info!(
        connections = connections.len(),
        sockets = shutdown.tasks.len(),
        "draining"
    );
    shutdown.tasks.close();
    let draining = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
        shutdown.tasks.wait().await;
    };
    if tokio::time::timeout(options.drain, draining).await.is_ok() {
        return Ok(Drained::Fully);
    }
    tracing::warn!(
        connections = connections.len(),
        "drain time is up; connections are cut off"
    );
    connections.shutdown().await;
    Ok(Drained::TimedOut)
}

/// Handlers and bodies have nets of their own, so a connection that panics is a defect of the server itself.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
