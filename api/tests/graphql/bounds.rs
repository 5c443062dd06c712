//! FL5, FR10: nobody takes all sockets, operations or connections, and anonymous sockets end.

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::ServerOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, start_with};
use crate::websocket::Peer;

fn quick(endpoint: EndpointOptions) -> EndpointOptions {
    EndpointOptions {
        init_timeout: Duration::from_millis(300),
        ..endpoint
    }
}

async fn serving(endpoint: EndpointOptions) -> Server {
    start_with(endpoint, ServerOptions::default()).await
}

/// Hundreds of sockets that say nothing of who they are: each is told, and gone.
#[tokio::test]
async fn anonymous_sockets_end_after_the_time_for_init() {
    let server = serving(quick(EndpointOptions::default())).await;
    let signed_in = Peer::ready(&server, json!({ "token": "good" })).await;
    let mut anonymous = Vec::new();
    for _ in 0..300 {
        anonymous.push(Peer::ready(&server, json!({})).await);
    }
    for mut peer in anonymous {
        let (code, reason) = peer.hear_close().await;
        assert_eq!(code, 4401, "{reason}");
        assert!(reason.contains("connection_init"), "{reason}");
    }
    let mut signed_in = signed_in;
    signed_in.subscribe("1", "{ version }").await;
    assert_eq!(signed_in.hear_message().await["type"], "next", "it stays");
}

/// A login over a socket fits into the time.
#[tokio::test]
async fn an_anonymous_socket_can_be_used_until_then() {
    let server = serving(quick(EndpointOptions::default())).await;
    let mut peer = Peer::ready(&server, json!({})).await;
    peer.subscribe("1", "{ version }").await;
    assert_eq!(peer.hear_message().await["type"], "next");
}

#[tokio::test]
async fn an_account_has_a_share_of_sockets_and_event_streams() {
    let server = serving(EndpointOptions {
        streams_per_account: 2,
        ..EndpointOptions::default()
    })
    .await;
    let token = || json!({ "token": "good" });
    let first = Peer::ready(&server, token()).await;
    let _second = Peer::ready(&server, token()).await;
    let mut third = Peer::connect(&server).await;
    third
        .say(&json!({ "type": "connection_init", "payload": token() }))
        .await;
    let (code, reason) = third.hear_close().await;
    assert_eq!(code, 4429);
    assert!(reason.contains("at most 2"), "{reason}");
    let stream = || {
        let post = server.post(&json!({ "query": "subscription { silent }" }));
        post.header("accept", "text/event-stream")
            .bearer_auth("good")
            .send()
    };
    let refused = stream().await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    drop(first);
    while stream().await.expect("an answer").status() != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await; // the place is given back when the peer is seen gone
    }
}

#[tokio::test]
async fn an_address_has_a_share_of_sockets() {
    let server = serving(EndpointOptions {
        streams_per_address: 2,
        ..EndpointOptions::default()
    })
    .await;
    let _held = (Peer::connect(&server).await, Peer::connect(&server).await);
    let headers = [("sec-websocket-protocol", "graphql-transport-ws")];
    let refused = Peer::connect_as(&server, &headers).await.err().expect("refused");
    assert!(refused.contains("429"), "{refused}");
}

#[tokio::test]
async fn an_account_has_a_share_of_operations() {
    let server = serving(EndpointOptions {
        operations_per_account: 3,
        ..EndpointOptions::default()
    })
    .await;
    let mut first = Peer::ready(&server, json!({ "token": "good" })).await;
    let mut second = Peer::ready(&server, json!({ "token": "good" })).await;
    for id in ["1", "2", "3"] {
        first.subscribe(id, "subscription { silent }").await;
    }
    // The first socket has begun them once it answers.
    first.say(&json!({ "type": "ping" })).await;
    assert_eq!(first.hear_message().await["type"], "pong");
    second.subscribe("4", "subscription { silent }").await;
    let refused = second.hear_message().await;
    assert_eq!(refused["type"], "error");
    let error = &refused["payload"][0];
    assert_eq!(error["extensions"]["code"], "RATE_LIMITED", "{refused}");
    assert!(
        error["message"]
            .as_str()
            .unwrap_or_default()
            .contains("at most 3"),
        "{refused}"
    );
    first.say(&json!({ "type": "complete", "id": "1" })).await;
    first.say(&json!({ "type": "ping" })).await;
    assert_eq!(first.hear_message().await["type"], "pong");
    second.subscribe("5", "{ version }").await;
    assert_eq!(second.hear_message().await["type"], "next");
}

/// GQ-10: an account that has its share under way waits for itself, and is told to come again when too many wait.
#[tokio::test]
async fn an_account_has_a_share_of_what_is_under_way() {
    let server = serving(EndpointOptions {
        running_per_account: 1,
        waiting_per_account: 0,
        ..EndpointOptions::default()
    })
    .await;
    let ask = |query: &str| {
        let post = server.post(&json!({ "query": query }));
        post.header("accept", "application/graphql-response+json")
    };
    let slow = tokio::spawn(ask("{ slow }").bearer_auth("good").send());
    let refused = loop {
        let answer = ask("{ version }")
            .bearer_auth("good")
            .send()
            .await
            .expect("an answer");
        match answer.status().as_u16() {
            200 => tokio::time::sleep(Duration::from_millis(5)).await, // the slow one has not come yet
            _ => break answer,
        }
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let told: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(told["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{told}");
    let other = ask("{ version }").send().await.expect("an answer");
    assert_eq!(other.status(), 200, "others do not wait");
    slow.abort();
    while ask("{ version }")
        .bearer_auth("good")
        .send()
        .await
        .expect("an answer")
        .status()
        != 200
    {
        tokio::time::sleep(Duration::from_millis(20)).await; // the turn is given on when the peer is seen gone
    }
}

/// A connection that sends a part of a request and then nothing.
async fn slow(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let part = b"POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(part).await.expect("sent");
    stream
}

/// The answer to one request on a connection of its own.
async fn asked(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
    read.expect("it is closed after the answer").expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn full(options: ServerOptions) -> (Server, Vec<TcpStream>) {
    let options = ServerOptions {
        reserved_for: &["/download"],
        ..options
    };
    let server = start_with(EndpointOptions::default(), options).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(slow(&server).await);
    }
    (server, held)
}

/// What is reserved is answered when an address has all its connections; everything else is told which bound it is.
#[tokio::test]
async fn an_address_has_a_share_of_connections_and_health_is_answered_beyond() {
    let (server, _held) = full(ServerOptions {
        connections_per_address: 200,
        ..ServerOptions::default()
    })
    .await;
    for _ in 0..50 {
        let refused = asked(&server, "/graphql?query=%7Bversion%7D")
            .await
            .to_lowercase();
        assert!(refused.starts_with("http/1.1 429"), "{refused}");
        assert!(
            refused.contains("retry-after: ") && refused.contains("at most 200 connections"),
            "{refused}"
        );
        let healthy = asked(&server, "/download").await;
        assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    }
}

#[tokio::test]
async fn when_all_connections_are_taken_health_is_answered_and_the_rest_told_to_come_back() {
    let (server, _held) = full(ServerOptions {
        connections: 200,
        ..ServerOptions::default()
    })
    .await;
    let refused = asked(&server, "/graphql?query=%7Bversion%7D")
        .await
        .to_lowercase();
    assert!(
        refused.starts_with("http/1.1 503") && refused.contains("retry-after: "),
        "{refused}"
    );
    let healthy = asked(&server, "/download").await;
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
}

/// The reserve too is for everybody some: beyond it a connection is closed, not left waiting.
#[tokio::test]
async fn beyond_the_reserve_a_connection_is_closed() {
    let (server, _held) = full(ServerOptions {
        connections_per_address: 100,
        reserve: 8,
        ..ServerOptions::default()
    })
    .await;
    // One eighth of the reserve is this address's, and one of the 200 that came has it, for two seconds.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _last = TcpStream::connect(server.address).await.expect("connects");
    let mut closed = TcpStream::connect(server.address).await.expect("connects");
    let read = tokio::time::timeout(Duration::from_secs(5), closed.read(&mut [0; 1])).await;
    assert!(matches!(read.expect("closed"), Ok(0) | Err(_)));
}
