//! What the plain routes answer to requests that are wrong as HTTP: a problem, whoever refuses.

use api::http::endpoints;
use reqwest::{Method, Response};
use serde_json::Value;
use tests::harness::{Client, TestApp};

/// The path with something in the place of each parameter.
fn filled(path: &str) -> String {
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn send(client: &Client, request: reqwest::RequestBuilder) -> Response {
    let request = match &client.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.expect("an answer")
}

/// The problem of an answer, which says what it must.
async fn problem(response: Response, status: u16, what: &str) -> Value {
    assert_eq!(response.status(), status, "{what}");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json",
        "{what}"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status, "{what}: {problem}");
    assert_eq!(problem["requestId"], id, "{what}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{what}: {problem}"
        );
    }
    problem
}

/// RFC 9110, 11.6.1; RFC 6750, 3: every 401 says what would do, and whether a token was sent that did not.
#[tokio::test]
async fn every_401_has_a_challenge() {
    let app = TestApp::start().await;
    let client = app.client();
    let mut refused = 0;
    for endpoint in endpoints() {
        let method = endpoint.method.clone().unwrap_or(Method::GET);
        for (authorization, challenge) in [
            (None, "Bearer realm=\"anneal\""),
            (Some("Basic Zm9v"), "Bearer realm=\"anneal\""),
            (
                Some("Bearer nonsense"),
                "Bearer realm=\"anneal\", error=\"invalid_token\"",
            ),
        ] {
            let mut request = client.request(method.clone(), &filled(endpoint.path));
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let response = send(&client, request).await;
            let what = format!("{endpoint:?} with {authorization:?}");
            let given = response.headers().get("www-authenticate");
            if response.status() != 401 {
                assert!(given.is_none(), "{what}");
                continue;
            }
            assert_eq!(
                given.map(|value| value.to_str().expect("text")),
                Some(challenge),
                "{what}"
            );
            refused += 1;
            problem(response, 401, &what).await;
        }
    }
    assert!(refused >= 30, "{refused}");
    app.stop().await;
}

/// What a path or a query string says and no route can read.
#[tokio::test]
async fn parameters_that_cannot_be_read_are_a_problem() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    for (path, named) in [
        ("/api/datasets/1/versions/first/content", "'first'"),
        ("/api/datasets/1/versions/-1/content", "'-1'"),
        ("/api/datasets/1/versions/4294967296/content", "'4294967296'"),
        ("/api/models/1/versions/x/files/a", "'x'"),
        ("/api/models/1/versions/1/files/%FF", "UTF-8"),
        ("/api/jobs/1/log?after=garbage", "after"),
        ("/api/jobs/1/log?after=-1", "after"),
        ("/api/jobs/1/log?after=1&after=2", "after"),
        ("/api/jobs/1/log?format=html", "format"),
        ("/api/jobs/1/log?from=1", "from"),
        ("/api/jobs/1/log?format=%FF", "UTF-8"),
    ] {
        let response = send(&ada, ada.request(Method::GET, path)).await;
        let problem = problem(response, 400, path).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(named), "{path}: {problem}");
    }
    for (path, named) in [
        ("/audit/proof/inclusion?position=x", "position"),
        ("/audit/proof/inclusion", "position"),
        ("/audit/proof/consistency?from=1&to=", "to"),
    ] {
        let response = send(&app.admin, app.admin.request(Method::GET, path)).await;
        let problem = problem(response, 400, path).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(named), "{path}: {problem}");
    }
    app.stop().await;
}

/// Who goes on where it cannot be gone on is told so.
#[tokio::test]
async fn what_cannot_be_resumed_is_a_problem() {
    let app = TestApp::start().await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let uploaded = ada.upload(&dataset, "a.txt", b"0123456789\n".to_vec()).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let path = format!("/api/datasets/{dataset}/versions/1/content");
    for range in ["bytes=11-", "bytes=x-", "bytes=2-1", "bytes"] {
        let request = ada.request(Method::GET, &path).header("range", range);
        let response = send(&ada, request).await;
        assert_eq!(response.headers()["content-range"], "bytes */11", "{range}");
        problem(response, 416, range).await;
    }
    let etag = send(&ada, ada.request(Method::GET, &path)).await.headers()["etag"].clone();
    let resumed = |begun: reqwest::header::HeaderValue| {
        let request = ada.request(Method::GET, &path).header("range", "bytes=9-");
        send(&ada, request.header("if-range", begun))
    };
    let rest = resumed(etag).await;
    assert_eq!(rest.status(), 206);
    assert_eq!(rest.text().await.expect("text"), "9\n");
    let anew = resumed(reqwest::header::HeaderValue::from_static("\"another\"")).await;
    assert_eq!(anew.status(), 200);
    assert_eq!(anew.text().await.expect("text"), "0123456789\n");
    app.stop().await;
}

/// RFC 9110, 15.5.6.
#[tokio::test]
async fn a_method_that_a_route_has_not_is_a_problem() {
    let app = TestApp::start().await;
    let client = app.client();
    for endpoint in endpoints() {
        let Some(method) = endpoint.method.clone() else {
            continue;
        };
        let response = send(&client, client.request(Method::DELETE, &filled(endpoint.path))).await;
        let what = format!("{endpoint:?}");
        let allowed = response.headers().get("allow").cloned();
        let allowed = allowed.unwrap_or_else(|| panic!("{what} has no Allow"));
        let allowed = allowed.to_str().expect("text").split(',').map(str::to_owned);
        assert!(
            allowed.into_iter().any(|allowed| allowed == method.as_str()),
            "{what}"
        );
        problem(response, 405, &what).await;
    }
    let nowhere = send(&client, client.request(Method::GET, "/nowhere")).await;
    problem(nowhere, 404, "/nowhere").await;
    app.stop().await;
}
