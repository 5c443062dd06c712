//! Every HTTP route, called by somebody who is not signed in.
//!
//! One rule: the routes are read from what the router is made of, so a new one is called too, without anybody
//! thinking of it.

use api::http::{endpoints, routes::Endpoint};
use reqwest::Method;
use tests::harness::{Client, TestApp};

/// What needs no sign-in. It may only shrink. What GraphQL demands is tested operation by operation beside this.
const OPEN: [&str; 7] = [
    "/",
    "/healthz",
    "/readyz",
    "/api/health",
    "/metrics",
    "/.well-known/jwks.json",
    "/graphql",
];

/// The path with something in the place of each parameter.
fn filled(path: &str) -> String {
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn status(client: &Client, endpoint: &Endpoint, token: Option<&str>) -> u16 {
    let method = endpoint.method.clone().unwrap_or(Method::GET);
    let mut request = client.request(method, &filled(endpoint.path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    client.send(request).await.status
}

/// AC-3, A3: a route that forgets to ask who calls fails here.
#[tokio::test]
async fn every_route_demands_a_sign_in() {
    let app = TestApp::start().await;
    let anonymous = app.client();
    let mut wrong = Vec::new();
    for endpoint in endpoints() {
        let open = OPEN.contains(&endpoint.path);
        for token in [None, Some("nonsense"), Some("a.b.c")] {
            let status = status(&anonymous, &endpoint, token).await;
            // What is open may look at a token, and refuse a wrong one.
            let fits = if open {
                token.is_some() || status != 401
            } else {
                status == 401
            };
            if !fits {
                wrong.push(format!("{endpoint:?} with token {token:?}: {status}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these answer otherwise than they should:\n{}",
        wrong.join("\n")
    );
    app.stop().await;
}

/// The same without the parameters' help: who is not signed in learns nothing of what exists, whatever the method.
#[tokio::test]
async fn no_method_gets_around_the_sign_in() {
    let app = TestApp::start().await;
    let anonymous = app.client();
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    for endpoint in endpoints() {
        if OPEN.contains(&endpoint.path) {
            continue;
        }
        for method in &methods {
            let answer = anonymous.send(anonymous.request(method.clone(), &filled(endpoint.path)));
            let status = answer.await.status;
            assert!(
                [401, 405].contains(&status),
                "{method} {}: {status}",
                endpoint.path
            );
        }
    }
    app.stop().await;
}

/// The list of what is open has no entry that is not a route.
#[test]
fn what_is_open_exists() {
    let endpoints = endpoints();
    assert!(endpoints.len() > OPEN.len(), "{endpoints:?}");
    for path in OPEN {
        assert!(
            endpoints.iter().any(|endpoint| endpoint.path == path),
            "{path} is no route; take it out"
        );
    }
}
