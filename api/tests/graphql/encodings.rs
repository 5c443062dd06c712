//! FR1: content codings, and bodies that end or fail in their own ways.

use async_compression::tokio::bufread::GzipDecoder;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Version};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::support::{STREAMED, Server, http, start};

/// What clients send as `Accept-Encoding`, and whether they get gzip of what may be compressed.
const CODINGS: [(Option<&str>, bool); 12] = [
    (None, false),
    (Some("identity"), false),
    (Some("gzip"), true),
    (Some("deflate"), false),
    (Some("br"), false),
    (Some("zstd"), false),
    (Some("gzip;q=0"), false),
    (Some("*"), true),
    (Some("gzip, deflate, br, zstd"), true),
    (Some("gzip;q=0.5, identity"), false),
    (Some("br, identity;q=0"), false),
    (Some("*;q=0"), false),
];

async fn get(
    server: &Server,
    client: &Client,
    path: &str,
    coding: Option<&str>,
) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = client.request(Method::GET, format!("http://{}{path}", server.address));
    if let Some(coding) = coding {
        request = request.header("accept-encoding", coding);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("the whole body");
    (status, headers, body.to_vec())
}

/// The bytes that were meant, and whether they came as gzip.
async fn decoded(headers: &HeaderMap, body: Vec<u8>) -> (bool, Vec<u8>) {
    match headers.get("content-encoding") {
        None => (false, body),
        Some(coding) => {
            assert_eq!(coding, "gzip");
            let mut bytes = Vec::new();
            let mut decoder = GzipDecoder::new(body.as_slice());
            decoder.read_to_end(&mut bytes).await.expect("whole gzip");
            (true, bytes)
        }
    }
}

/// Clients of both versions of HTTP.
fn clients() -> [(Version, Client); 2] {
    let builder = http;
    [
        (Version::HTTP_11, builder().build().expect("a client")),
        (
            Version::HTTP_2,
            builder().http2_prior_knowledge().build().expect("a client"),
        ),
    ]
}

#[tokio::test]
async fn a_stream_has_the_same_bytes_in_every_coding() {
    let server = start().await;
    for (version, client) in clients() {
        for (coding, gzip) in CODINGS {
            let (status, headers, body) = get(&server, &client, "/stream", coding).await;
            let said = format!("{version:?} {coding:?}: {headers:?}");
            assert_eq!(status, 200, "{said}");
            assert_eq!(headers["vary"], "accept-encoding", "{said}");
            assert_eq!(decoded(&headers, body).await, (gzip, STREAMED.to_vec()), "{said}");
        }
    }
}

/// A download's tag, length and ranges speak of the bytes that are sent.
#[tokio::test]
async fn what_has_a_tag_and_ranges_is_never_compressed() {
    let server = start().await;
    for (version, client) in clients() {
        for (coding, _) in CODINGS {
            let (status, headers, body) = get(&server, &client, "/download", coding).await;
            let said = format!("{version:?} {coding:?}: {headers:?}");
            assert_eq!((status, body.as_slice()), (200, STREAMED), "{said}");
            assert!(!headers.contains_key("content-encoding"), "{said}");
            assert_eq!(headers["content-length"], STREAMED.len().to_string(), "{said}");
            assert_eq!(headers["accept-ranges"], "bytes", "{said}");
            assert_eq!(headers["etag"], "\"tag\"", "{said}");
        }
    }
}

/// The compression layer answers 406 when there is no coding to agree on, and the work is done by then.
#[tokio::test]
async fn a_mutation_is_never_refused_for_a_coding_after_it_was_run() {
    let server = start().await;
    for (count, (coding, _)) in (1..).zip(CODINGS) {
        let mut request = server.post(&json!({ "query": "mutation { bump }" }));
        if let Some(coding) = coding {
            request = request.header("accept-encoding", coding);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("a body").to_vec();
        let (_, body) = decoded(&headers, body).await;
        let expected = format!("{{\"data\":{{\"bump\":{count}}}}}");
        assert_eq!((status, body), (200, expected.into_bytes()), "{coding:?}");
    }
}

#[tokio::test]
async fn events_are_never_held_back_by_a_coding() {
    let server = start().await;
    for (coding, _) in CODINGS {
        let mut request = server
            .post(&json!({ "query": "subscription { count(upTo: 2) }" }))
            .header("accept", "text/event-stream");
        if let Some(coding) = coding {
            request = request.header("accept-encoding", coding);
        }
        let response = request.send().await.expect("an answer");
        assert!(!response.headers().contains_key("content-encoding"), "{coding:?}");
        let text = response.text().await.expect("the whole stream");
        assert!(
            text.ends_with("event: complete\ndata: \n\n"),
            "{coding:?}: {text}"
        );
        assert_eq!(text.matches("event: next").count(), 2, "{coding:?}: {text}");
    }
}

/// A panic in a body cuts off its own answer, so that nobody takes a part for the whole; the others of the same client
/// go on, over one connection too.
#[tokio::test]
async fn a_panic_in_a_body_ends_its_own_answer_only() {
    let server = start().await;
    for (version, client) in clients() {
        for coding in [None, Some("gzip")] {
            let url = |path: &str| format!("http://{}{path}", server.address);
            let slow = tokio::spawn(client.get(url("/slow")).send());
            let mut request = client.get(url("/panicking-stream"));
            if let Some(coding) = coding {
                request = request.header("accept-encoding", coding);
            }
            let response = request.send().await.expect("it begins");
            assert_eq!(response.status(), 200);
            response.bytes().await.expect_err("it does not look whole");
            let slow = slow.await.expect("joins").expect("the other answer comes");
            assert_eq!(slow.status(), 200, "{version:?} {coding:?}");
        }
    }
}

/// HEAD says what GET would: the same coding, and a length only where GET has one.
#[tokio::test]
async fn head_tells_the_coding_that_get_has() {
    let server = start().await;
    for path in ["/stream", "/download"] {
        let head = server
            .client
            .head(format!("http://{}{path}", server.address))
            .header("accept-encoding", "gzip");
        let head = head.send().await.expect("an answer").headers().clone();
        let (_, get, _) = get(&server, &server.client, path, Some("gzip")).await;
        for name in ["content-encoding", "content-length", "etag", "accept-ranges"] {
            assert_eq!(head.get(name), get.get(name), "{name} of {path}");
        }
    }
}
