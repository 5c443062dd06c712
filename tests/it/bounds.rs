//! FR10: one account's slow uploads leave the others their answers.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tests::harness::{Client, TestApp, TestOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Begins an upload and sends next to nothing of it.
async fn slow_upload(client: &Client, dataset: &str) -> TcpStream {
    let address = client.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let token = client.token.as_deref().expect("signed in");
    let request = format!(
        "POST /api/datasets/{dataset}/versions?fileName=a.txt HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-length: 1000000\r\n\r\na"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// What the server has answered so far; nothing while it waits for more.
async fn answered(stream: &mut TcpStream, within: Duration) -> String {
    let mut answer = vec![0; 4_096];
    match tokio::time::timeout(within, stream.read(&mut answer)).await {
        Ok(read) => String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned(),
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn slow_uploads_of_one_account_leave_the_others_their_answers() {
    let app = TestApp::start_with(TestOptions {
        settings: vec![("http.transfers_per_account", "5".to_owned())],
        ..TestOptions::default()
    })
    .await;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let (hers, his) = (ada.dataset("Hers").await, bob.dataset("His").await);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(slow_upload(&ada, &hers).await);
    }
    for stream in &mut held {
        assert_eq!(
            answered(stream, Duration::from_millis(200)).await,
            "",
            "it waits for the bytes"
        );
    }
    for _ in 0..200 {
        let mut refused = slow_upload(&ada, &hers).await;
        let answer = answered(&mut refused, Duration::from_secs(10))
            .await
            .to_lowercase();
        assert!(answer.starts_with("http/1.1 429"), "{answer}");
        assert!(
            answer.contains("retry-after: ") && answer.contains("at most 5 uploads"),
            "{answer}"
        );
    }
    let health = app
        .client()
        .send(app.client().request(Method::GET, "/healthz"))
        .await;
    assert_eq!(health.status, 200);
    assert_eq!(
        bob.upload(&his, "b.txt", b"a line of text\n".to_vec())
            .await
            .status,
        201
    );
    ada.run("{ me { id } }", json!({})).await.data("me");
    let refused = ada.upload(&hers, "c.txt", b"a line of text\n".to_vec()).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    drop(held);
    let begun = tokio::time::Instant::now();
    while ada
        .upload(&hers, "c.txt", b"a line of text\n".to_vec())
        .await
        .status
        != 201
    {
        assert!(begun.elapsed() < Duration::from_secs(10), "places are given back");
    }
    app.stop().await;
}

/// A download that is not read holds a place, and gives it back.
#[tokio::test]
async fn downloads_hold_places_until_their_end() {
    let app = TestApp::start_with(TestOptions {
        settings: vec![("http.transfers_per_account", "1".to_owned())],
        ..TestOptions::default()
    })
    .await;
    let ada = app.person("ada", "engineer_i").await;
    let dataset = ada.dataset("Texts").await;
    let text = "a line of text that is some letters long\n".repeat(200_000);
    assert_eq!(ada.upload(&dataset, "a.txt", text.into_bytes()).await.status, 201);
    let path = format!("/api/datasets/{dataset}/versions/1/content");
    let token = ada.token.clone().expect("signed in");
    let unread = ada
        .request(Method::GET, &path)
        .bearer_auth(&token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(unread.status(), 200);
    let refused = ada.send(ada.request(Method::GET, &path)).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    let bytes = unread.bytes().await.expect("all of it");
    assert_eq!(bytes.len(), 41 * 200_000);
    assert_eq!(ada.send(ada.request(Method::HEAD, &path)).await.status, 200);
    app.stop().await;
}
