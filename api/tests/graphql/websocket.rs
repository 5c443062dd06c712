//! GQ-4, GQ-5: `graphql-transport-ws`, each close code as a client sees it.

mod ends;

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::ServerOptions;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{Server, start, start_with};

pub struct Peer(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What a peer receives.
#[derive(Debug, PartialEq)]
enum Received {
    Message(Value),
    Closed(u16, String),
}

impl Peer {
    pub async fn connect(server: &Server) -> Self {
        Self::connect_as(server, &[("sec-websocket-protocol", "graphql-transport-ws")])
            .await
            .expect("a socket")
    }

    pub async fn connect_as(
        server: &Server,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Self, String> {
        let mut request = format!("ws://{}/graphql", server.address)
            .into_client_request()
            .expect("a request");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a value"));
        }
        connect_async(request)
            .await
            .map(|(socket, _)| Self(socket))
            .map_err(|error| error.to_string())
    }

    /// A peer that has its `connection_ack`.
    pub async fn ready(server: &Server, payload: Value) -> Self {
        let mut peer = Self::connect(server).await;
        peer.say(&json!({ "type": "connection_init", "payload": payload }))
            .await;
        assert_eq!(
            peer.hear().await,
            Received::Message(json!({ "type": "connection_ack" }))
        );
        peer
    }

    pub async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    async fn say_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sends");
    }

    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.say(&json!({ "type": "subscribe", "id": id, "payload": { "query": query } }))
            .await;
    }

    async fn hear(&mut self) -> Received {
        let hearing = async {
            loop {
                match self.0.next().await.expect("a frame").expect("in order") {
                    Message::Text(text) => {
                        return Received::Message(serde_json::from_str(&text).expect("JSON"));
                    }
                    Message::Close(Some(frame)) => {
                        return Received::Closed(frame.code.into(), frame.reason.to_string());
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), hearing)
            .await
            .expect("something is heard")
    }

    pub async fn hear_message(&mut self) -> Value {
        match self.hear().await {
            Received::Message(message) => message,
            Received::Closed(code, reason) => panic!("closed with {code} {reason}"),
        }
    }

    pub async fn hear_close(&mut self) -> (u16, String) {
        loop {
            if let Received::Closed(code, reason) = self.hear().await {
                return (code, reason);
            }
        }
    }
}

/// 5.2.3.1: a subscription has one root field, however it is written.
#[tokio::test]
async fn a_subscription_with_two_root_fields_is_refused() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for (number, query) in crate::support::TWO_ROOTS.into_iter().enumerate() {
        let id = number.to_string();
        peer.subscribe(&id, query).await;
        let refused = peer.hear_message().await;
        assert_eq!(
            (&refused["type"], &refused["id"]),
            (&json!("error"), &json!(id)),
            "{query}: {refused}"
        );
        assert_eq!(
            refused["payload"][0]["extensions"]["code"], "BAD_USER_INPUT",
            "{query}: {refused}"
        );
    }
    peer.subscribe(
        "one",
        "subscription { ...F } fragment F on Subscriptions { count(upTo: 1) count(upTo: 1) }",
    )
    .await;
    assert_eq!(
        peer.hear_message().await["payload"]["data"],
        json!({ "count": 1 })
    );
    assert_eq!(peer.hear_message().await["type"], "complete");
}

#[tokio::test]
async fn operations_of_every_kind_run_over_one_socket() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({ "authorization": "Bearer good" })).await;
    peer.subscribe("q", "{ me }").await;
    assert_eq!(
        peer.hear_message().await,
        json!({ "type": "next", "id": "q", "payload": { "data": { "me": "alice" } } })
    );
    assert_eq!(
        peer.hear_message().await,
        json!({ "type": "complete", "id": "q" })
    );
    peer.subscribe("q", "mutation { bump }").await;
    assert_eq!(peer.hear_message().await["payload"]["data"]["bump"], 1);
    assert_eq!(peer.hear_message().await["type"], "complete");
    peer.subscribe("s", "subscription { count(upTo: 2) }").await;
    for count in 1..=2 {
        assert_eq!(peer.hear_message().await["payload"]["data"]["count"], count);
    }
    assert_eq!(
        peer.hear_message().await,
        json!({ "type": "complete", "id": "s" })
    );
    peer.say(&json!({ "type": "ping", "payload": { "n": 1 } })).await;
    assert_eq!(
        peer.hear_message().await,
        json!({ "type": "pong", "payload": { "n": 1 } })
    );
}

#[tokio::test]
async fn tokens_come_in_the_payload_or_in_the_upgrade() {
    let server = start().await;
    for payload in [
        json!({ "token": "good" }),
        json!({ "Authorization": "bearer good" }),
        json!({ "apiKey": "good" }),
    ] {
        let mut peer = Peer::ready(&server, payload).await;
        peer.subscribe("1", "{ me }").await;
        assert_eq!(peer.hear_message().await["payload"]["data"]["me"], "alice");
    }
    let headers = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("authorization", "Bearer good"),
    ];
    let mut peer = Peer::connect_as(&server, &headers).await.expect("a socket");
    peer.say(&json!({ "type": "connection_init" })).await;
    assert_eq!(peer.hear_message().await["type"], "connection_ack");
    peer.subscribe("1", "{ me }").await;
    assert_eq!(peer.hear_message().await["payload"]["data"]["me"], "alice");
}

#[tokio::test]
async fn bad_credentials_close_with_4401_and_4403() {
    let server = start().await;
    for (token, code, reason) in [
        (json!("bad"), 4401, "the token is not valid"),
        (json!(7), 4401, "send one token"),
        (json!("locked"), 4403, "the account is locked"),
        (json!("often"), 1013, "too many requests"),
    ] {
        let mut peer = Peer::connect(&server).await;
        peer.say(&json!({ "type": "connection_init", "payload": { "token": token } }))
            .await;
        let (closed, why) = peer.hear_close().await;
        assert_eq!(closed, code);
        assert!(why.starts_with(reason), "{why}");
    }
}

#[tokio::test]
async fn what_the_protocol_does_not_know_closes_with_4400() {
    let server = start().await;
    for text in [
        "no JSON".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!({ "type": "x".repeat(500) }).to_string(),
        json!({ "type": "next", "id": "1" }).to_string(),
        json!({ "type": "ping", "payload": 1 }).to_string(),
        json!({ "type": "subscribe", "payload": { "query": "{ version }" } }).to_string(),
        json!({ "type": "subscribe", "id": "", "payload": { "query": "{ version }" } }).to_string(),
        json!({ "type": "subscribe", "id": "1" }).to_string(),
        json!({ "type": "subscribe", "id": "1", "payload": { "variables": {} } }).to_string(),
        json!({ "type": "complete" }).to_string(),
        json!(["subscribe", "1", { "query": "{ version }" }]).to_string(),
        json!({ "type": "subscribe", "id": 1, "payload": { "query": "{ version }" } }).to_string(),
        json!({ "type": "subscribe", "id": "1", "payload": { "query": "{ version }", "variables": 1 } })
            .to_string(),
        r#"{"type":"subscribe","id":"1","payload":{"query":"{ version }"}"#.to_owned(),
        r#"{"type":"subscribe","id":"1","payload":{"query":"\ux"}}"#.to_owned(),
        r#"{"type":"subscribe","id":"\ud800","payload":{"query":"{ version }"}}"#.to_owned(),
        r#"{"type":"subscribe","id":"1","id":"2","payload":{"query":"{ version }"}}"#.to_owned(),
        r#"{"type":"ping","payload":{"n":"\ud800"}}"#.to_owned(),
    ] {
        let mut peer = Peer::ready(&server, json!({})).await;
        peer.say_text(&text).await;
        let (code, reason) = peer.hear_close().await;
        assert_eq!(code, 4400, "{text}: {reason}");
        assert!(reason.len() <= 123);
    }
    let mut peer = Peer::ready(&server, json!({})).await;
    peer.0.send(Message::binary(vec![1])).await.expect("sends");
    assert_eq!(peer.hear_close().await.0, 4400);
    let mut peer = Peer::connect(&server).await;
    peer.say(&json!({ "type": "connection_init", "payload": "x" }))
        .await;
    assert_eq!(peer.hear_close().await.0, 4400);
}

/// A payload that is JSON and that no text, number or stack can hold fails its operation alone.
#[tokio::test]
async fn a_payload_that_cannot_be_read_fails_its_operation_alone() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    peer.subscribe("long", "subscription { silent }").await;
    let variable = |value: &str| {
        format!(r#"{{"query":"query ($t: String!) {{ echo(text: $t) }}","variables":{{"t":{value}}}}}"#)
    };
    let deep = variable(&format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)));
    for (number, (payload, why)) in [
        (variable(r#""\ud800""#), "half of a surrogate pair"),
        (variable(r#""\ud800\ud800""#), "half of a surrogate pair"),
        (variable(r#""\udc00""#), "half of a surrogate pair"),
        (
            r#"{"query":"{ echo(text: \"\ud83d\") }"}"#.to_owned(),
            "half of a surrogate pair",
        ),
        (
            r#"{"query":"{ version }","\ud800":1}"#.to_owned(),
            "half of a surrogate pair",
        ),
        (variable("1e999"), "too large"),
        (deep, "too deep"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = number.to_string();
        peer.say_text(&format!(
            r#"{{"id":"{id}","type":"subscribe","payload":{payload}}}"#
        ))
        .await;
        let message = peer.hear_message().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!(id)),
            "{why}: {message}"
        );
        let error = &message["payload"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{message}");
        assert!(
            error["message"].as_str().is_some_and(|said| said.contains(why)),
            "{message}"
        );
    }
    peer.say_text(r#"{"type":"complete","id":"none","payload":"\ud800"}"#)
        .await;
    peer.subscribe("0", "{ version }").await;
    assert_eq!(peer.hear_message().await["payload"]["data"]["version"], "1");
    assert_eq!(peer.hear_message().await["type"], "complete");
    peer.subscribe("long", "subscription { silent }").await;
    assert_eq!(peer.hear_close().await.0, 4409, "the other operation still runs");
}

/// Before `connection_ack` nothing is answered for an operation, readable or not.
#[tokio::test]
async fn a_payload_that_cannot_be_read_needs_an_accepted_socket() {
    let server = start().await;
    let mut peer = Peer::connect(&server).await;
    peer.say_text(r#"{"type":"subscribe","id":"1","payload":{"query":"\ud800"}}"#)
        .await;
    assert_eq!(peer.hear_close().await.0, 4401);
}

#[tokio::test]
async fn the_order_of_the_protocol_is_enforced() {
    let server = start().await;
    let mut peer = Peer::connect(&server).await;
    peer.subscribe("1", "{ version }").await;
    assert_eq!(peer.hear_close().await, (4401, "Unauthorized".to_owned()));

    let mut peer = Peer::ready(&server, json!({})).await;
    peer.say(&json!({ "type": "connection_init" })).await;
    assert_eq!(
        peer.hear_close().await,
        (4429, "Too many initialisation requests".to_owned())
    );

    let mut peer = Peer::ready(&server, json!({})).await;
    peer.subscribe("one", "subscription { silent }").await;
    peer.subscribe("one", "subscription { silent }").await;
    assert_eq!(
        peer.hear_close().await,
        (4409, "Subscriber for one already exists".to_owned())
    );

    let mut peer = Peer::connect_as(&server, &[]).await.expect("a socket");
    assert_eq!(peer.hear_close().await.0, 4406);
}

#[tokio::test]
async fn a_socket_without_init_closes_with_4408() {
    let endpoint = EndpointOptions {
        init_timeout: Duration::from_millis(100),
        ..EndpointOptions::default()
    };
    let server = start_with(endpoint, ServerOptions::default()).await;
    let mut peer = Peer::connect(&server).await;
    assert_eq!(peer.hear_close().await.0, 4408);
}

#[tokio::test]
async fn an_operation_that_cannot_run_is_an_error_message() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for (query, code) in [
        ("{", "BAD_USER_INPUT"),
        ("{ nothing }", "BAD_USER_INPUT"),
        ("subscription { nothing }", "BAD_USER_INPUT"),
        (
            &format!("{{ version(a: {} }}", "[".repeat(1_600)),
            "QUERY_TOO_LARGE",
        ),
    ] {
        peer.subscribe("1", query).await;
        let message = peer.hear_message().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!("1")),
            "{message}"
        );
        assert_eq!(message["payload"][0]["extensions"]["code"], code);
    }
    peer.subscribe("1", "{ version }").await;
    assert_eq!(peer.hear_message().await["type"], "next");
}

#[tokio::test]
async fn complete_is_silent_and_frees_the_id() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    peer.subscribe("1", "subscription { silent }").await;
    peer.say(&json!({ "type": "complete", "id": "1" })).await;
    peer.say(&json!({ "type": "complete", "id": "unknown" })).await;
    peer.subscribe("1", "{ version }").await;
    assert_eq!(peer.hear_message().await["type"], "next");
    assert_eq!(peer.hear_message().await["type"], "complete");
}

#[tokio::test]
async fn a_panic_ends_its_operation_and_not_the_socket() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for query in ["{ panicking }", "subscription { panicking }"] {
        peer.subscribe("1", query).await;
        let message = peer.hear_message().await;
        assert!(
            message.to_string().contains("INTERNAL") && !message.to_string().contains("purpose"),
            "{message}"
        );
        peer.say(&json!({ "type": "ping" })).await;
        while peer.hear_message().await["type"] != "pong" {}
    }
}

#[tokio::test]
async fn operations_and_messages_are_bounded() {
    let endpoint = EndpointOptions {
        operations_per_socket: 3,
        ..EndpointOptions::default()
    };
    let server = start_with(endpoint, ServerOptions::default()).await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for id in ["1", "2", "3", "4"] {
        peer.subscribe(id, "subscription { silent }").await;
    }
    let message = peer.hear_message().await;
    assert_eq!((&message["id"], &message["type"]), (&json!("4"), &json!("error")));
    assert_eq!(message["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    peer.say_text(&" ".repeat(65 * 1024)).await;
    assert_eq!(peer.hear_close().await.0, 1009);
}

#[tokio::test]
async fn a_foreign_origin_gets_no_socket() {
    let server = start().await;
    let headers = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("origin", "https://evil.example"),
    ];
    let refused = Peer::connect_as(&server, &headers)
        .await
        .err()
        .expect("no socket");
    assert!(refused.contains("403"), "{refused}");
}
