//! The address: free, or an Anneal answers there.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use serde::Deserialize;
use tokio::net::TcpListener;

use super::Check;

/// How long whoever listens may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// One thing that a running system depends on, as it says.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) ok: bool,
}

/// What a running system says of itself at `/api/health`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    pub(super) status: String,
    pub(super) version: String,
    pub(super) head: String,
    pub(super) lag_events: u64,
    pub(super) workers: Vec<String>,
    pub(super) dependencies: Vec<Dependency>,
    /// Read models that do not simply follow the log.
    #[serde(default)]
    pub(super) projections: Vec<Projection>,
}

/// A read model that is being rebuilt, or stopped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Projection {
    pub(super) name: String,
    pub(super) condition: String,
    #[serde(default)]
    pub(super) failed_position: Option<u64>,
}

/// Whether the address can be listened on, and what runs there if not.
pub(super) async fn address(address: SocketAddr) -> (Check, Option<Health>) {
    let name = "address";
    match TcpListener::bind(address).await {
        Ok(_) => (Check::ok(name, format!("{address} is free")), None),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match health(address).await {
            Ok(health) => (running(address, &health), Some(health)),
            Err(_) => {
                let found = format!("another program listens on {address}");
                (
                    Check::fail(name, found, "end it, or choose another address with --listen"),
                    None,
                )
            }
        },
        Err(error) => {
            let found = format!("{address} cannot be listened on: {error}");
            (
                Check::fail(name, found, "choose an address of this machine with --listen"),
                None,
            )
        }
    }
}

fn running(address: SocketAddr, health: &Health) -> Check {
    let found = format!(
        "Anneal {} answers on {address}: {}, log at {}, read models {} behind, {} worker(s)",
        health.version,
        health.status,
        health.head,
        health.lag_events,
        health.workers.len()
    );
    match health.status.as_str() {
        // Which read model is not shown is said by a check of its own.
        "ready" | "degraded" => Check::ok("address", found),
        _ => Check::fail(
            "address",
            found,
            "see which dependency below fails, and the log of that process",
        ),
    }
}

async fn health(address: SocketAddr) -> Result<Health, reqwest::Error> {
    let reached = match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "asks this installation's own server whether it is there"
    )]
    let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build()?;
    client
        .get(format!("http://{reached}/api/health"))
        .send()
        .await?
        .json()
        .await
}
