//! A server that does not describe itself says so, over each transport.

use api::graphql::spec::SpecOptions;
use api::http::graphql::EndpointOptions;
use api::http::server::ServerOptions;
use serde_json::{Value, json};

use crate::schema::TestExecutor;
use crate::support::{Server, answer, start, start_executor};
use crate::websocket::Peer;

/// Questions about the schema, however they are written.
const QUESTIONS: [&str; 6] = [
    "{ __schema { types { name } } }",
    "{ version s: __schema { queryType { name } } }",
    "{ __type(name: \"Query\") { name } }",
    "{ ... on Query { __type(name: \"Query\") { name } } }",
    "{ ...F } fragment F on Query { __schema { types { name } } }",
    "{ version version ...F } fragment F on Query { __schema { types { name } } }",
];

async fn silent() -> Server {
    let options = SpecOptions {
        introspection: false,
        ..SpecOptions::default()
    };
    let executor = TestExecutor::with(options);
    start_executor(executor, EndpointOptions::default(), ServerOptions::default()).await
}

fn is_refused(error: &Value, query: &str) {
    assert_eq!(error["extensions"]["code"], "FORBIDDEN", "{query}: {error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("introspection is disabled"), "{query}: {error}");
}

#[tokio::test]
async fn introspection_that_is_off_is_an_error_over_http() {
    let (server, open) = (silent().await, start().await);
    for query in QUESTIONS {
        let body = json!({ "query": query });
        let (_, _, refused) = answer(server.post(&body)).await;
        is_refused(&refused["errors"][0], query);
        assert!(refused.get("data").is_none(), "{query}: {refused}");
        let (_, _, answered) = answer(open.post(&body)).await;
        assert!(answered.get("errors").is_none(), "{query}: {answered}");
    }
    let name = json!({ "query": "{ __typename ... { __typename } version }" });
    let (_, _, named) = answer(server.post(&name)).await;
    assert_eq!(
        named,
        json!({ "data": { "__typename": "Query", "version": "1" } })
    );
}

#[tokio::test]
async fn introspection_that_is_off_is_an_error_over_event_streams() {
    let server = silent().await;
    for query in QUESTIONS {
        let asked = server
            .post(&json!({ "query": query }))
            .header("accept", "text/event-stream");
        let stream = asked
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a stream");
        let data = stream.lines().find_map(|line| line.strip_prefix("data: "));
        let refused: Value = serde_json::from_str(data.expect("an event")).expect("JSON");
        is_refused(&refused["errors"][0], query);
        assert!(stream.contains("event: complete"), "{query}: {stream}");
    }
}

#[tokio::test]
async fn introspection_that_is_off_is_an_error_over_sockets() {
    let server = silent().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for query in QUESTIONS {
        peer.subscribe("q", query).await;
        let refused = peer.hear_message().await;
        assert_eq!(refused["type"], "error", "{query}: {refused}");
        is_refused(&refused["payload"][0], query);
    }
    peer.subscribe("t", "{ __typename }").await;
    assert_eq!(
        peer.hear_message().await["payload"]["data"]["__typename"],
        "Query"
    );
}
