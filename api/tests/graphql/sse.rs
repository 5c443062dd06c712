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
}

/// Who believes to resume is never started anew.
#[tokio::test]
async fn a_last_event_id_that_is_no_position_is_refused() {
    let server = start().await;
    let count = "subscription { count(upTo: 3) }";
    for wrong in ["a b", "garbage", "-1", "+1", "1.0", "0x1", "18446744073709551616"] {
        let refused = subscribe(&server, count).header("last-event-id", wrong);
        let (status, _, body) = answer(refused).await;
        assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"), "{wrong}: {body}");
        let message = body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with("Last-Event-ID must be the id of an event"),
            "{wrong}: {body}"
        );
    }
    let twice = subscribe(&server, count)
        .header("last-event-id", "1")
        .header("last-event-id", "2");
    assert_eq!(answer(twice).await.0, 400);
    let mutation = subscribe(&server, "mutation { bump }").header("last-event-id", "1");
    assert_eq!(answer(mutation).await.0, 400);
    assert_eq!(server.bumps(), 0);
    let first = text(subscribe(&server, count).header("last-event-id", "")).await;
    assert!(first.contains("\"count\":1"), "{first}");
}

/// GraphQL over SSE, distinct connections mode: whatever is found wrong with a request that is well-formed HTTP and
/// JSON, and wherever, is one `next` with errors and then `complete`.
#[tokio::test]
async fn every_request_error_is_an_event() {
    let server = start().await;
    let bodies = [
        json!({ "query": "{" }),
        json!({ "query": "" }),
        json!({ "query": "# nothing" }),
        json!({ "query": "fragment F on Query { version }" }),
        json!({ "query": "{ version }", "operationName": "Unknown" }),
        json!({ "query": "query A { version } query B { version }" }),
        json!({ "query": "{ ...F } fragment F on Query { ...F }" }),
        json!({ "query": "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }" }),
        json!({ "query": "subscription { count(upTo: 1)" }),
        json!({ "query": "{ nothing }" }),
        json!({ "query": "{ echo }" }),
        json!({ "query": "query ($t: String!) { echo(text: $t) }" }),
        json!({ "query": "subscription { nothing }" }),
        json!({ "query": format!("{{ version(a: {}) }}", "[".repeat(1_600)) }),
        json!({ "query": "{ version }", "variables": { "v": (0..40).fold(json!(1), |inner, _| json!([inner])) } }),
    ];
    for body in bodies {
        let request = server.post(&body).header("accept", "text/event-stream");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{body}");
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{body}");
        let stream = response.text().await.expect("the whole stream");
        let data = stream
            .strip_prefix("event: next\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\nevent: complete\ndata: \n\n"))
            .unwrap_or_else(|| panic!("{body}: {stream}"));
        let answered: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert!(answered.get("data").is_none(), "{body}: {answered}");
        let known = ["BAD_USER_INPUT", "QUERY_TOO_LARGE"];
        assert!(known.contains(&code(&answered)), "{body}: {answered}");
    }
    for body in [json!({}), json!({ "query": 1 }), json!([])] {
        let request = server.post(&body).header("accept", "text/event-stream");
        let (status, kind, _) = answer(request).await;
        assert_eq!(
            (status, kind.as_str()),
            (400, "application/json; charset=utf-8"),
            "{body}"
        );
    }
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
