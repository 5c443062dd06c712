//! GQ-5, GQ-6: GraphQL over HTTP.

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::ServerOptions;
use serde_json::{Value, json};

use crate::support::{answer, code, start, start_with};

const GRAPHQL: &str = "application/graphql-response+json";
const GRAPHQL_UTF8: &str = "application/graphql-response+json; charset=utf-8";
const JSON_UTF8: &str = "application/json; charset=utf-8";

#[tokio::test]
async fn the_answer_has_the_media_type_that_was_asked_for() {
    let server = start().await;
    let version = json!({ "query": "{ version }" });
    for (accept, kind) in [
        (None, JSON_UTF8),
        (Some("*/*"), JSON_UTF8),
        (Some("application/json"), JSON_UTF8),
        (Some(GRAPHQL), GRAPHQL_UTF8),
        (
            Some("application/graphql-response+json, application/json;q=0.9"),
            GRAPHQL_UTF8,
        ),
    ] {
        let mut request = server
            .client
            .post(server.url())
            .header("content-type", "application/json");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let (status, given, body) = answer(request.body(version.to_string())).await;
        assert_eq!((status, given.as_str()), (200, kind), "{accept:?}");
        assert_eq!(body, json!({ "data": { "version": "1" } }));
    }
    let (status, _, body) = answer(server.post(&version).header("accept", "text/html")).await;
    assert_eq!((status, code(&body)), (406, "BAD_USER_INPUT"));
}

/// FR9, FL4: the caller's fault, by name, and nobody's log.
#[tokio::test]
async fn wrong_variables_are_the_callers_fault() {
    let server = start().await;
    for (query, variables, name) in [
        ("query ($t: String!) { echo(text: $t) }", json!({}), "\"$t\""),
        (
            "query ($t: String!) { echo(text: $t) }",
            json!({ "t": null }),
            "\"$t\"",
        ),
        (
            "query ($t: String!) { echo(text: $t) }",
            json!({ "t": 1 }),
            "\"$t\"",
        ),
        (
            "query ($t: String!) { echo(text: $t) }",
            json!({ "t": "\0" }),
            "U+0000",
        ),
        (
            "query ($b: Boolean!) { version @include(if: $b) }",
            json!({}),
            "\"$b\"",
        ),
        (
            "query ($b: Boolean!) { version @skip(if: $b) }",
            json!({ "b": "x" }),
            "\"$b\"",
        ),
        ("{ echo(text: \"\\u0000\") }", json!({}), "U+0000"),
        ("{ echo(text: \"\\uD83D\") }", json!({}), "surrogate"),
    ] {
        let request = server.post(&json!({ "query": query, "variables": variables }));
        let (status, _, body) = answer(request.header("accept", GRAPHQL)).await;
        assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"), "{query}: {body}");
        assert!(body.get("data").is_none(), "{query}: {body}");
        let message = body["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(name), "{query}: {body}");
    }
    let null = json!({ "query": "query ($t: Int) { shout(times: $t) }", "variables": { "t": null } });
    let (_, _, body) = answer(server.post(&null)).await;
    assert_eq!(
        (code(&body), &body["errors"][0]["path"]),
        ("BAD_USER_INPUT", &json!(["shout"])),
        "{body}"
    );
    let half = r#"{ "query": "query ($t: String!) { echo(text: $t) }", "variables": { "t": "\ud83d" } }"#;
    let request = server
        .client
        .post(server.url())
        .header("content-type", "application/json");
    let (status, _, body) = answer(request.body(half)).await;
    assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"), "{body}");
    let message = body["errors"][0]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("the body has half of a surrogate pair"),
        "{body}"
    );
}

/// Texts are taken as they are sent or not at all.
#[tokio::test]
async fn a_query_string_that_is_not_utf8_is_refused() {
    let server = start().await;
    for parameters in [
        "query=%7Becho(text:%22a%FFb%22)%7D",
        "query=%7Bversion%7D&operationName=%C3",
    ] {
        let request = server.client.get(format!("{}?{parameters}", server.url()));
        let (status, _, body) = answer(request).await;
        assert_eq!(
            (status, code(&body)),
            (400, "BAD_USER_INPUT"),
            "{parameters}: {body}"
        );
    }
    let request = server.client.get(format!(
        "{}?query=%7Becho(text:%22%C3%A9+%25%22)%7D",
        server.url()
    ));
    assert_eq!(answer(request).await.2["data"]["echo"], "\u{e9} %");
}

#[tokio::test]
async fn request_errors_have_no_data_and_the_status_of_their_media_type() {
    let server = start().await;
    for query in [
        "{",
        "{ nothing }",
        "{ echo }",
        "query A { version } query B { version }",
        "{ echo(text: 1) }",
    ] {
        let request = || server.post(&json!({ "query": query }));
        let (status, _, body) = answer(request().header("accept", GRAPHQL)).await;
        assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"), "{query}: {body}");
        assert!(body.get("data").is_none(), "{body}");
        let (status, _, body) = answer(request().header("accept", "application/json")).await;
        assert_eq!(status, 200, "{query}");
        assert!(body.get("data").is_none(), "{body}");
    }
}

#[tokio::test]
async fn wrong_members_are_400_in_every_media_type() {
    let server = start().await;
    let version = "{ version }";
    for body in [
        json!({}),
        json!({ "query": 1 }),
        json!({ "query": version, "operationName": 1 }),
        json!({ "query": version, "variables": [] }),
        json!({ "query": version, "variables": "{}" }),
        json!({ "query": version, "extensions": 1 }),
        json!([{ "query": version }]),
        json!("query"),
    ] {
        for accept in [GRAPHQL, "application/json"] {
            let (status, _, answered) = answer(server.post(&body).header("accept", accept)).await;
            assert_eq!(status, 400, "{body}: {answered}");
            assert_eq!(code(&answered), "BAD_USER_INPUT");
        }
    }
    let broken = server
        .client
        .post(server.url())
        .header("content-type", "application/json")
        .body("{\"query\": InvalidRequest(");
    let (status, _, body) = answer(broken).await;
    assert_eq!(status, 400);
    assert_eq!(
        body["errors"][0]["message"],
        "the body is not JSON at line 1, column 11"
    );
}

#[tokio::test]
async fn null_members_and_variables_are_fine() {
    let server = start().await;
    let body = json!({
        "query": "query A { version } query B($t: String!) { echo(text: $t) }",
        "operationName": "B", "variables": { "t": "hi" }, "extensions": null, "other": 1,
    });
    let (status, _, body) = answer(server.post(&body)).await;
    assert_eq!((status, body), (200, json!({ "data": { "echo": "hi" } })));
    let body = json!({ "query": "{ version }", "operationName": null, "variables": null });
    assert_eq!(answer(server.post(&body)).await.0, 200);
}

#[tokio::test]
async fn get_runs_queries_with_all_parameters_and_nothing_else() {
    let server = start().await;
    let parameters = [
        (
            "query",
            "query A { version } query B($t: String!) { echo(text: $t) }",
        ),
        ("operationName", "B"),
        ("variables", r#"{"t":"hi"}"#),
        ("extensions", "{}"),
    ];
    let (status, _, body) = answer(server.get(&parameters)).await;
    assert_eq!((status, body), (200, json!({ "data": { "echo": "hi" } })));

    let response = server
        .get(&[("query", "mutation { bump }")])
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(server.bumps(), 0);

    for wrong in [
        &[][..],
        &[("query", "{ version }"), ("variables", "{")],
        &[("query", "a"), ("query", "b")],
    ] {
        assert_eq!(answer(server.get(wrong)).await.0, 400, "{wrong:?}");
    }
    for method in [
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
        reqwest::Method::PATCH,
        reqwest::Method::HEAD,
    ] {
        let response = server
            .client
            .request(method, server.url())
            .body("{}")
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, POST");
    }
}

/// The shapes that a page of another site can send without the browser asking first.
#[tokio::test]
async fn forged_requests_change_nothing() {
    let server = start().await;
    let mutation = r#"{"query":"mutation { bump }"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ] {
        let request = server.client.post(server.url()).body(mutation);
        let request = if kind.is_empty() {
            request
        } else {
            request.header("content-type", kind)
        };
        let (status, _, body) = answer(request).await;
        assert_eq!((status, code(&body)), (415, "BAD_USER_INPUT"), "{kind}");
    }
    let mutation = json!({ "query": "mutation { bump }" });
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let (status, _, body) = answer(server.post(&mutation).header(name, value)).await;
        assert_eq!((status, code(&body)), (403, "FORBIDDEN"), "{value}");
    }
    assert_eq!(server.bumps(), 0);
    let own = format!("http://{}", server.address);
    assert_eq!(answer(server.post(&mutation).header("origin", own)).await.0, 200);
    assert_eq!(server.bumps(), 1);
}

/// A query that fails by its plan is run anew; a change never is.
#[tokio::test]
async fn a_mutation_that_fails_is_run_once_however_often_its_document_came() {
    let server = start().await;
    for times in 1..=4 {
        let body = json!({ "query": "mutation { bumpAndFail }" });
        let (_, _, given) = answer(server.post(&body).bearer_auth("good")).await;
        assert_eq!(code(&given), "INTERNAL", "{given}");
        assert_eq!(server.bumps(), times);
    }
}

#[tokio::test]
async fn long_bodies_are_refused_with_an_answer() {
    let server = start().await;
    let version = |padding: usize| json!({ "query": "{ version }", "padding": "x".repeat(padding) });
    assert_eq!(answer(server.post(&version(200 * 1024))).await.0, 200);
    let (status, _, body) = answer(server.post(&version(300 * 1024))).await;
    assert_eq!((status, code(&body)), (413, "QUERY_TOO_LARGE"));
    for _ in 0..20 {
        let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 32 * 1024]));
        let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
        let request = server
            .client
            .post(server.url())
            .header("content-type", "application/json")
            .body(body);
        assert_eq!(answer(request).await.0, 413);
    }
}

#[tokio::test]
async fn hostile_documents_are_refused_and_the_server_lives() {
    let server = start().await;
    let lists = "[".repeat(1_600);
    let deep = json!({ "query": format!("{{ version(a: {lists}) }}") });
    let (status, _, body) = answer(server.post(&deep).header("accept", GRAPHQL)).await;
    assert_eq!((status, code(&body)), (400, "QUERY_TOO_LARGE"));
    let variable = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let deep = json!({ "query": "{ version }", "variables": { "v": variable } });
    let (status, _, body) = answer(server.post(&deep).header("accept", "application/json")).await;
    assert_eq!((status, code(&body)), (200, "QUERY_TOO_LARGE"));
    assert_eq!(
        answer(server.post(&json!({ "query": "{ version }" }))).await.0,
        200
    );
}

#[tokio::test]
async fn credentials_decide_who_asks() {
    let server = start().await;
    let me = json!({ "query": "{ me }" });
    assert_eq!(answer(server.post(&me)).await.2["data"]["me"], "nobody");
    assert_eq!(
        answer(server.post(&me).bearer_auth("good")).await.2["data"]["me"],
        "alice"
    );
    assert_eq!(
        answer(server.post(&me).header("x-api-key", "good")).await.2["data"]["me"],
        "alice"
    );
    for (authorization, status, expected) in [
        ("Bearer bad", 401, "UNAUTHENTICATED"),
        ("Basic Zm9v", 401, "UNAUTHENTICATED"),
        ("Bearer locked", 403, "FORBIDDEN"),
        ("Bearer often", 429, "RATE_LIMITED"),
    ] {
        let response = server
            .post(&me)
            .header("authorization", authorization)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), status);
        let challenge = response.headers().get("www-authenticate");
        let wanted = match (status, authorization) {
            (401, "Bearer bad") => Some("Bearer realm=\"anneal\", error=\"invalid_token\""),
            (401, _) => Some("Bearer realm=\"anneal\""),
            _ => None,
        };
        assert_eq!(challenge.map(|value| value.to_str().expect("text")), wanted);
        assert_eq!(response.headers().contains_key("retry-after"), status == 429);
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(code(&body), expected);
    }
}

#[tokio::test]
async fn failures_are_masked_and_named_by_the_request_id() {
    let server = start().await;
    let request = server
        .post(&json!({ "query": "{ a: broken }" }))
        .header("x-request-id", "mine-1");
    let (status, _, body) = answer(request).await;
    assert_eq!((status, code(&body)), (200, "INTERNAL"));
    assert_eq!(body["errors"][0]["extensions"]["requestId"], "mine-1");
    assert_eq!(body["errors"][0]["path"], json!(["a"]));
    assert!(!body.to_string().contains("secret"), "{body}");
    let (_, _, body) = answer(server.post(&json!({ "query": "{ forbidden }" }))).await;
    assert_eq!(
        (code(&body), &body["errors"][0]["message"]),
        ("FORBIDDEN", &json!("not yours"))
    );
}

/// A scalar that cannot be read is found during execution, and is the client's fault all the same.
#[tokio::test]
async fn a_variable_that_is_no_uuid_is_the_clients_fault() {
    let server = start().await;
    let query = "query Q($id: UUID!) { byId(id: $id) }";
    let (_, _, body) = answer(server.post(&json!({ "query": query, "variables": { "id": "x" } }))).await;
    assert_eq!(code(&body), "BAD_USER_INPUT", "{body}");
}

#[tokio::test]
async fn a_panicking_resolver_is_an_error_and_the_server_lives() {
    let server = start().await;
    let (status, _, body) = answer(
        server
            .post(&json!({ "query": "{ panicking }" }))
            .header("accept", GRAPHQL),
    )
    .await;
    assert_eq!((status, code(&body)), (500, "INTERNAL"));
    assert!(!body.to_string().contains("purpose"), "{body}");
    assert_eq!(
        answer(server.post(&json!({ "query": "{ version }" }))).await.0,
        200
    );
}

#[tokio::test]
async fn a_request_ends_with_its_time() {
    let endpoint = EndpointOptions {
        request_timeout: Duration::from_millis(200),
        ..EndpointOptions::default()
    };
    let server = start_with(endpoint, ServerOptions::default()).await;
    let (status, _, body) = answer(server.post(&json!({ "query": "{ slow }" }))).await;
    assert_eq!((status, code(&body)), (200, "UNAVAILABLE"));
    assert!(
        body["errors"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("timed out")),
        "{body}"
    );
}

#[tokio::test]
async fn a_subscription_is_not_answered_with_one_json() {
    let server = start().await;
    let (status, _, body) = answer(server.post(&json!({ "query": "subscription { silent }" }))).await;
    assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"));
}
