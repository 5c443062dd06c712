//! How sockets end: with their session, with their peer, with the server.

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::{Drained, ServerOptions};
use futures::StreamExt;
use serde_json::json;

use super::Peer;
use crate::support::{start, start_with};

#[tokio::test]
async fn a_revoked_session_ends_its_operations_and_its_socket() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({ "token": "good" })).await;
    peer.subscribe("1", "subscription { silent }").await;
    peer.say(&json!({ "type": "ping" })).await;
    assert_eq!(peer.hear_message().await["type"], "pong");
    server.executor.revoked.cancel();
    let message = peer.hear_message().await;
    assert_eq!((&message["id"], &message["type"]), (&json!("1"), &json!("error")));
    assert_eq!(message["payload"][0]["extensions"]["code"], "FORBIDDEN");
    assert_eq!(
        peer.hear_close().await,
        (4403, "your access was withdrawn".to_owned())
    );
}

/// FR13: clients give up for good at an `error` and at 4401; what they do about 4403 is to connect again.
#[tokio::test]
async fn a_session_that_expires_closes_its_socket_so_that_clients_come_back() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({ "token": "good" })).await;
    peer.subscribe("1", "subscription { silent }").await;
    peer.say(&json!({ "type": "ping" })).await;
    assert_eq!(peer.hear_message().await["type"], "pong");
    server.executor.expired.cancel();
    let (code, reason) = peer.hear_close().await;
    assert_eq!(code, 4403, "without an error before");
    assert!(reason.contains("fresh"), "{reason}");
}

/// FA1: an operation on a socket begins by the rights of now, not by those of `connection_init`.
#[tokio::test]
async fn each_operation_on_a_socket_asks_for_the_rights_of_now() {
    let server = start().await;
    // Nobody watches this caller's session, so that only the operation itself can notice.
    let mut peer = Peer::ready(&server, json!({})).await;
    peer.subscribe("1", "{ version }").await;
    assert_eq!(peer.hear_message().await["type"], "next");
    assert_eq!(peer.hear_message().await["type"], "complete");
    server.executor.expired.cancel();
    for (id, query) in [
        ("2", "{ version }"),
        ("3", "mutation { bump }"),
        ("4", "subscription { silent }"),
    ] {
        peer.subscribe(id, query).await;
        let refused = peer.hear_message().await;
        assert_eq!(
            (&refused["id"], &refused["type"]),
            (&json!(id), &json!("error")),
            "{refused}"
        );
        assert_eq!(refused["payload"][0]["extensions"]["code"], "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn peers_that_say_nothing_are_closed_and_those_that_pong_are_not() {
    let silence = Duration::from_millis(400);
    let pinging = EndpointOptions {
        keep_alive: Duration::from_millis(100),
        silence,
        ..EndpointOptions::default()
    };
    let server = start_with(pinging, ServerOptions::default()).await;
    let mut alive = Peer::ready(&server, json!({})).await;
    let listening = tokio::time::timeout(Duration::from_secs(2), alive.hear());
    assert!(listening.await.is_err(), "a peer that answers pings stays");

    let quiet = EndpointOptions {
        silence,
        ..EndpointOptions::default()
    };
    let server = start_with(quiet, ServerOptions::default()).await;
    let mut silent = Peer::ready(&server, json!({})).await;
    assert_eq!(silent.hear_close().await, (1013, "no sign of life".to_owned()));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let endpoint = EndpointOptions {
        stall: Duration::from_millis(300),
        ..EndpointOptions::default()
    };
    let server = start_with(endpoint, ServerOptions::default()).await;
    let mut slow = Peer::ready(&server, json!({})).await;
    slow.subscribe("1", "subscription { flood }").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The rest of what was under way comes, then the connection ends.
    let draining = async { while let Some(Ok(_)) = slow.0.next().await {} };
    tokio::time::timeout(Duration::from_secs(10), draining)
        .await
        .expect("the socket is over");
}

#[tokio::test]
async fn a_shutdown_closes_sockets_with_1001_and_waits_for_them() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    server.shutdown.token.cancel();
    assert_eq!(
        peer.hear_close().await,
        (1001, "server is shutting down".to_owned())
    );
    assert!(peer.0.next().await.is_none_or(|frame| frame.is_err()));
    assert_eq!(server.serving.await.expect("joins"), Drained::Fully);
}
