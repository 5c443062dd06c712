//! Hostile input to the running application: it answers, and lives.

use serde_json::json;
use tests::harness::TestApp;

/// GQ-6, D1: documents that would kill the parser or the executor are refused before them.
#[tokio::test]
async fn hostile_documents_are_refused_and_the_process_lives() {
    let app = TestApp::start().await;
    let deep = format!(
        "{{ node(id: {}{}) {{ __typename }} }}",
        "[".repeat(1_600),
        "]".repeat(1_600)
    );
    let mut bomb = "query { ...f0 }\n".to_owned();
    for number in 0..22 {
        bomb.push_str(&format!(
            "fragment f{number} on Query {{ ...f{n} ...f{n} }}\n",
            n = number + 1
        ));
    }
    bomb.push_str("fragment f22 on Query { version }");
    let long = format!("{{ {} }}", "version ".repeat(4_000));
    for document in [deep, bomb, long] {
        let refused = app.client().run(&document, json!({})).await;
        assert_eq!(refused.code(), Some("QUERY_TOO_LARGE"), "{:?}", refused.body);
        assert!(refused.body.get("data").is_none());
    }
    assert_eq!(
        app.client().run("{ version }", json!({})).await.data("version"),
        env!("CARGO_PKG_VERSION")
    );
    app.stop().await;
}

/// Wrong tokens and malformed bodies have clear answers.
#[tokio::test]
async fn wrong_tokens_and_bodies_have_clear_answers() {
    let app = TestApp::start().await;
    let mut liar = app.client();
    for token in ["nonsense", "a.b.c", ""] {
        liar.token = Some(token.to_owned());
        let refused = liar.run("{ me { id } }", json!({})).await;
        assert_eq!(
            (refused.status, refused.code()),
            (401, Some("UNAUTHENTICATED")),
            "{token}"
        );
    }
    let client = app.client();
    let missing = client.run("{ me { id } }", json!({})).await;
    assert_eq!(missing.code(), Some("UNAUTHENTICATED"));
    let unknown = client.run("{ nothing }", json!({})).await;
    assert_eq!(unknown.code(), Some("BAD_USER_INPUT"));
    let not_json = client
        .request(reqwest::Method::POST, "/graphql")
        .header("content-type", "application/json")
        .body("{");
    assert_eq!(client.send(not_json).await.status, 400);
    let form = client
        .request(reqwest::Method::POST, "/graphql")
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(client.send(form).await.status, 415);
    let foreign = client
        .request(reqwest::Method::POST, "/graphql")
        .header("origin", "https://evil.example");
    assert_eq!(
        client
            .send(foreign.json(&json!({ "query": "{ version }" })))
            .await
            .status,
        403
    );
    assert_eq!(
        client
            .send(client.request(reqwest::Method::GET, "/nowhere"))
            .await
            .status,
        404
    );
    app.stop().await;
}

/// OP-6, OP-7: health, readiness, metrics and keys are served without a token.
#[tokio::test]
async fn health_metrics_and_keys_are_served() {
    let app = TestApp::start().await;
    let client = app.client();
    let get = |path: &'static str| client.request(reqwest::Method::GET, path);
    let ready = client.send(get("/readyz")).await;
    assert_eq!(
        (ready.status, ready.body["status"].as_str()),
        (200, Some("ready")),
        "{ready:?}"
    );
    let looked_at: Vec<_> = ready.body["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|dependency| dependency["name"].as_str())
        .collect();
    assert_eq!(
        looked_at,
        [
            "database",
            "eventStore",
            "objectStore",
            "recording",
            "readModels",
            "reactors",
            "room",
            "logTime",
            "auditSigning",
            "checkpointExport"
        ]
    );
    assert_eq!(client.send(get("/healthz")).await.status, 200);
    let keys = client.send(get("/.well-known/jwks.json")).await;
    assert_eq!(keys.body["keys"][0]["kty"], json!("OKP"));
    let metrics = client.send(get("/metrics")).await;
    assert!(
        metrics
            .body
            .as_str()
            .is_some_and(|text| text.contains("http_requests_total")),
        "{metrics:?}"
    );
    app.stop().await;
}
