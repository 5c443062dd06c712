//! The log in KurrentDB: the contract over a scripted peer, what happens when that peer misbehaves, and the same
//! contract over a real server that `ANNEAL_TEST_KURRENTDB` names (`cargo xtask peers kurrentdb`).
//!
//! The rule: the peer is right unless its script says otherwise, and the official client reads it too
//! (`tests/peers/kurrentdb-client`).

mod misbehaviour;
#[expect(
    clippy::result_large_err,
    reason = "the services of tonic answer with its status"
)]
mod peer;
mod secure;
#[cfg_attr(
    not(feature = "kurrentdb-server"),
    expect(
        dead_code,
        reason = "used where a server is named; compiled everywhere so that it stays right"
    )
)]
mod server;
mod start;
mod system;

use std::{sync::Arc, time::Duration};

use event_store::kurrentdb::{Address, KurrentEventStore, Settings};

use super::Stores;
use peer::Peer;
#[cfg(feature = "kurrentdb-server")]
pub(crate) use server::kurrentdb_server;

/// Deadlines that are long beside a busy machine, and short beside a patient reader.
fn settings() -> Settings {
    Settings {
        append_limit: Duration::from_secs(30),
        call_limit: Duration::from_secs(20),
        ..Settings::default()
    }
}

async fn open(url: &str, settings: Settings) -> Arc<KurrentEventStore> {
    let address = Address::parse(url).expect("an address");
    KurrentEventStore::start(address, settings)
        .await
        .expect("the store starts")
}

/// Two stores on one peer.
pub(crate) async fn kurrentdb_peer() -> Stores {
    let peer = Peer::start(1).await;
    Stores {
        first: open(&peer.url(), settings()).await,
        second: open(&peer.url(), settings()).await,
        _log: Box::new(peer),
    }
}
