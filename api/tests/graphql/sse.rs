//! GQ-4, GQ-5: GraphQL over server-sent events.

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::{Drained, ServerOptions};
use serde_json::{Value, json};

use crate::support::{Server, answer, code, start, start_with};
use crate::websocket::Peer;

fn subscribe(server: &Server, query: &str) -> reqwest::RequestBuilder {
    server
        .post(&json!({ "query": query }))
        .header("accept", "text/event-stream")
}

async fn text(request: reqwest::RequestBuilder) -> String {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.text().await.expect("the whole stream")
}

#[tokio::test]
async fn each_response_is_an_event_with_its_position() {
    let server = start().await;
    let stream = text(subscribe(&server, "subscription { count(upTo: 2) }")).await;
    let expected = "event: next\nid: 1\ndata: {\"data\":{\"count\":1},\"extensions\":{\"position\":1}}\n\n\
        event: next\nid: 2\ndata: {\"data\":{\"count\":2},\"extensions\":{\"position\":2}}\n\n\
        event: complete\ndata: \n\n";
    assert_eq!(stream, expected);
}

/// 5.2.3.1: a subscription has one root field, however it is written.
#[tokio::test]
async fn a_subscription_with_two_root_fields_is_refused() {
    let server = start().await;
    for query in crate::support::TWO_ROOTS {
        let stream = text(subscribe(&server, query)).await;
        assert!(
            stream.contains("BAD_USER_INPUT") && !stream.contains("\"data\":{"),
            "{query}: {stream}"
        );
        assert_eq!(stream.matches("event: next").count(), 1, "{query}: {stream}");
    }
}

/// One thing that is wrong is one error, as an event stream and over a socket.
#[tokio::test]
async fn a_subscription_to_its_own_type_name_is_one_error() {
    let server = start().await;
    let mut peer = Peer::ready(&server, json!({})).await;
    for (query, called) in [
        ("subscription { __typename }", "Anonymous Subscription"),
        (
            "subscription { ...F } fragment F on Subscriptions { __typename }",
            "Anonymous Subscription",
        ),
        ("subscription S { silent __typename }", "Subscription \"S\""),
    ] {
        let wanted = format!("{called} must not select an introspection top level field.");
        let stream = text(subscribe(&server, query)).await;
        let events: Vec<_> = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: {"))
            .collect();
        let [event] = events.as_slice() else {
            panic!("{query}: {stream}");
        };
        let event: Value = serde_json::from_str(&format!("{{{event}")).expect("JSON");
        peer.subscribe("s", query).await;
        let refused = peer.hear_message().await;
        for errors in [&event["errors"], &refused["payload"]] {
            assert_eq!(errors.as_array().map(Vec::len), Some(1), "{query}: {errors}");
            assert_eq!(errors[0]["message"], wanted, "{query}");
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_after_its_last_event() {
    let server = start().await;
    let again = subscribe(&server, "subscription { count(upTo: 3) }").header("last-event-id", "2");
    let stream = text(again).await;
    assert!(
        stream.contains("\"count\":3") && !stream.contains("\"count\":2"),
        "{stream}"
    );
    let wrong = subscribe(&server, "subscription { silent }").header("last-event-id", "a b");
    assert_eq!(answer(wrong).await.0, 400);
}

#[tokio::test]
async fn queries_by_get_stream_and_refusals_are_json() {
    let server = start().await;
    let get = server
        .get(&[("query", "{ version }")])
        .header("accept", "text/event-stream");
    let stream = text(get).await;
    assert!(
        stream.contains("{\"data\":{\"version\":\"1\"}}") && stream.contains("event: complete"),
        "{stream}"
    );
    let (status, kind, body) =
        answer(subscribe(&server, "subscription { count(upTo: 2) }").bearer_auth("bad")).await;
    assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"));
    assert!(kind.starts_with("application/json"));
    let get = server
        .get(&[("query", "mutation { bump }")])
        .header("accept", "text/event-stream");
    assert_eq!(answer(get).await.0, 405);
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_and_ends_with_the_session() {
    let endpoint = EndpointOptions {
        keep_alive: Duration::from_millis(50),
        ..EndpointOptions::default()
    };
    let server = start_with(endpoint, ServerOptions::default()).await;
    let reading = tokio::spawn(text(
        subscribe(&server, "subscription { silent }").bearer_auth("good"),
    ));
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.executor.revoked.cancel();
    let stream = reading.await.expect("joins");
    assert!(stream.starts_with(":\n\n"), "{stream}");
    assert!(
        stream.contains("FORBIDDEN") && stream.contains("withdrawn"),
        "{stream}"
    );
    assert!(stream.contains("event: complete"), "{stream}");
}

#[tokio::test]
async fn a_panic_is_a_masked_event() {
    let server = start().await;
    let stream = text(subscribe(&server, "subscription { panicking }")).await;
    assert!(
        stream.contains("INTERNAL") && !stream.contains("purpose"),
        "{stream}"
    );
}

#[tokio::test]
async fn a_shutdown_ends_streams_without_complete() {
    let server = start().await;
    let reading = tokio::spawn(text(subscribe(&server, "subscription { silent }")));
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.shutdown.token.cancel();
    assert_eq!(reading.await.expect("joins"), "");
    assert_eq!(server.serving.await.expect("joins"), Drained::Fully);
}
