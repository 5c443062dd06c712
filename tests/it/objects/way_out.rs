//! Requests to a bucket leave by `outbound`: they reach the operator's endpoint and nothing else (ADR 0032, PK-8).

use std::sync::Arc;

use axum::{Router, http::StatusCode, response::IntoResponse as _};
use domain::id::SystemIds;
use objects::{Key, Objects, S3Options, SecretText, StoreAddress};
use tests::harness::object_server::{BUCKET, ObjectServer};

fn options(endpoint: String) -> S3Options {
    S3Options {
        endpoint,
        access_key_id: SecretText::new("canary-access-key".to_owned()),
        secret_access_key: SecretText::new("canary-secret".to_owned()),
        allow_http: true,
        ..S3Options::default()
    }
}

/// A store that answers with the address of another server is not followed there, whatever is asked of it.
#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let other = ObjectServer::start().await;
    let key = Key::dataset(&"a".repeat(64)).expect("a key");
    other.put(&format!("p/{key}"), b"bytes of another server");
    let location = format!("{}/{BUCKET}/p/{key}", other.endpoint());
    let answer = move || {
        let location = location.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response() }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(answer))
            .await
            .expect("served");
    });
    let address = StoreAddress::parse(&format!("s3://{BUCKET}/p")).expect("an address");
    let objects = Objects::open_with(&address, &options(endpoint), Arc::new(SystemIds)).expect("a store");
    let read = objects.read(&key, None).await.expect_err("it is not followed");
    let mut staged = objects.stage().await.expect("held in memory");
    staged.write(b"bytes").await.expect("held in memory");
    let stored = staged
        .publish(&key, objects::Existing::Replace)
        .await
        .expect_err("nor here");
    for said in [read.to_string(), stored.to_string()] {
        assert!(!said.contains("canary"), "{said}");
    }
    assert_eq!(other.requests(), [""; 0]);
    server.abort();
}

/// An endpoint that nobody may call is refused with the configuration, before anything is asked.
#[test]
fn an_endpoint_of_the_machines_own_services_is_refused() {
    for endpoint in [
        "http://169.254.169.254",
        "http://[fe80::1]:9000",
        "http://224.0.0.1",
    ] {
        let problems = options(endpoint.to_owned()).check().expect_err(endpoint);
        assert_eq!(problems[0].0, "endpoint", "{problems:?}");
    }
    for endpoint in [
        "http://127.0.0.1:9000",
        "https://10.1.2.3",
        "http://minio.internal:9000",
    ] {
        assert_eq!(options(endpoint.to_owned()).check(), Ok(()), "{endpoint}");
    }
}
