//! FX1: the adapter over TLS: with the right authority, with a wrong one, and against a server without TLS.

use std::time::Duration;

use domain::event_store::{EventStore as _, Expected, Filter, Position};
use event_store::kurrentdb::{Address, AddressError, KurrentEventStore, Settings, StartError};
use tests::harness::tls::Authority;
use tonic::transport::Identity;

use super::{
    super::make::{append, stream},
    open,
    peer::Peer,
    settings,
};

fn over_tls(peer: &Peer, authority: &Authority) -> String {
    let file = authority.file();
    peer.url().replace(
        "tls=false",
        &format!("tlsCaFile={}&connectionName=test", file.display()),
    )
}

async fn secure_peer(nodes: usize, authority: &Authority) -> Peer {
    anneal::tls::install();
    let identity = Identity::from_pem(&authority.certificate, &authority.key);
    Peer::start_as(nodes, Some(identity)).await
}

async fn refused(url: &str) -> StartError {
    let settings = Settings {
        call_limit: Duration::from_secs(3),
        ..Settings::default()
    };
    let address = Address::parse(url).expect("an address");
    let error = KurrentEventStore::start(address, settings).await;
    error.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_is_written_to_read_and_followed() {
    let authority = Authority::of(&["127.0.0.1"]);
    let peer = secure_peer(3, &authority).await;
    peer.set(|mode| mode.leader = 1);
    let store = open(&over_tls(&peer, &authority), settings()).await;
    store
        .append(append("a", Expected::NoStream, 3))
        .await
        .expect("recorded");
    assert_eq!(store.load(&stream("a"), 0).await.expect("readable").len(), 3);
    let mut following = store.subscribe(Position::START, Filter::all());
    let page = tokio::time::timeout(Duration::from_secs(30), following.next()).await;
    assert!(!page.expect("in time").expect("readable").events.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_authority_or_name_or_without_tls_is_refused() {
    let authority = Authority::of(&["127.0.0.1"]);
    let peer = secure_peer(1, &authority).await;
    let error = refused(&over_tls(&peer, &Authority::of(&["127.0.0.1"]))).await;
    let said = error.to_string();
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
    assert!(said.contains("ertificate"), "the reason is named: {said}");

    let elsewhere = Authority::of(&["events.example.org"]);
    let other_name = secure_peer(1, &elsewhere).await;
    let error = refused(&over_tls(&other_name, &elsewhere)).await;
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");

    let plain = Peer::start(1).await;
    let error = refused(&over_tls(&plain, &authority)).await;
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
    let error = refused(&peer.url()).await;
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_with_its_option() {
    let address = Address::parse("kurrentdb://127.0.0.1:1?tlsCaFile=/nowhere/ca.crt").expect("an address");
    let error = KurrentEventStore::start(address, Settings::default()).await;
    let error = error.expect_err("refused");
    assert!(
        matches!(
            &error,
            StartError::Address(AddressError::File {
                option: "tlsCaFile",
                ..
            })
        ),
        "{error:?}"
    );
}
