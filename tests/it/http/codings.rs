//! FR1: every route in every content coding: the same bytes, and nothing said of them that does not hold.

use std::collections::BTreeSet;

use api::http::endpoints;
use async_compression::tokio::bufread::GzipDecoder;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use tokio::io::AsyncReadExt;

use super::samples::{Sample, Samples};

/// What clients send as `Accept-Encoding`, and whether gzip may come of it.
const CODINGS: [(Option<&str>, bool); 14] = [
    (None, false),
    (Some(""), false),
    (Some("identity"), false),
    (Some("gzip"), true),
    (Some("deflate"), false),
    (Some("br"), false),
    (Some("zstd"), false),
    (Some("gzip;q=0"), false),
    (Some("*"), true),
    (Some("gzip, deflate, br, zstd"), true),
    (Some("gzip;q=0.3, identity;q=0.9"), false),
    (Some("br;q=1.0, gzip;q=0.8, *;q=0.1"), true),
    (Some("br, identity;q=0"), false),
    (Some("*;q=0"), false),
];

/// Routes whose answers are downloads: with a tag, a length and ranges.
const DOWNLOADS: [&str; 3] = [
    "/api/datasets/{dataset}/versions/{version}/content",
    "/api/models/{model}/versions/{version}/files/{file}",
    "/api/models/{model}/versions/{version}/merged/{file}",
];

/// An answer: its bytes as they were meant.
struct Got {
    status: u16,
    headers: HeaderMap,
    gzip: bool,
    bytes: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn get(request: RequestBuilder, said: &str) -> Got {
    let response = request.send().await;
    let response = response.unwrap_or_else(|error| panic!("{said}: {error}"));
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let sent = response.bytes().await;
    let sent = sent.unwrap_or_else(|error| panic!("{said}: the answer was cut: {error:?}"));
    if let Some(length) = headers.get("content-length") {
        assert_eq!(length, &sent.len().to_string(), "{said}");
    }
    let mut bytes = sent.to_vec();
    let gzip = headers.get("content-encoding").is_some();
    if gzip {
        assert_eq!(headers["content-encoding"], "gzip", "{said}");
        bytes.clear();
        let mut decoder = GzipDecoder::new(sent.as_ref());
        let whole = decoder.read_to_end(&mut bytes).await;
        whole.unwrap_or_else(|error| panic!("{said}: {error}"));
    }
    Got {
        status,
        headers,
        gzip,
        bytes,
    }
}

fn taking(request: &RequestBuilder, coding: Option<&str>) -> RequestBuilder {
    let request = request.try_clone().expect("its body is in memory");
    match coding {
        Some(coding) => request.header("accept-encoding", coding),
        None => request,
    }
}

/// Whether such an answer is compressed for those who take that: what is text, and neither a download nor events.
fn compressible(got: &Got, download: bool) -> bool {
    let kind = got.header("content-type").unwrap_or_default();
    let excepted = kind == "text/event-stream" || kind == "application/octet-stream";
    !download && !excepted && got.bytes.len() >= 32
}

async fn check(sample: &Sample, download: bool) {
    let plain = get(taking(&sample.request, None), &sample.name).await;
    let body = String::from_utf8_lossy(&plain.bytes);
    assert!(
        (200..300).contains(&plain.status),
        "{}: {} {body}",
        sample.name,
        plain.status
    );
    assert!(!plain.bytes.is_empty(), "{}", sample.name);
    for (coding, takes_gzip) in CODINGS {
        let said = format!("{} with {coding:?}", sample.name);
        let got = get(taking(&sample.request, coding), &said).await;
        assert_eq!(got.status, plain.status, "{said}");
        for header in ["content-type", "etag", "accept-ranges"] {
            assert_eq!(got.header(header), plain.header(header), "{said}: {header}");
        }
        if sample.stable {
            assert_eq!(got.bytes, plain.bytes, "{said}");
        }
        let may = compressible(&got, download);
        assert_eq!(got.gzip, takes_gzip && may, "{said}: {:?}", got.headers);
        let varies = got
            .header("vary")
            .is_some_and(|vary| vary.contains("accept-encoding"));
        assert_eq!(varies, may, "{said}: {:?}", got.headers);
        assert!(
            !got.gzip || got.header("etag").is_none(),
            "{said}: a tag names the bytes sent"
        );
        if download {
            let length = got.bytes.len().to_string();
            assert_eq!(got.header("content-length"), Some(length.as_str()), "{said}");
            assert_eq!(got.header("accept-ranges"), Some("bytes"), "{said}");
            assert!(got.header("etag").is_some(), "{said}");
        }
    }
}

/// Ranges and lengths are of the bytes that a whole download has, whatever the client would take.
async fn check_parts(sample: &Sample) {
    let whole = get(taking(&sample.request, None), &sample.name).await;
    let size = whole.bytes.len();
    assert!(size > 1_000, "{}: {size}", sample.name);
    let ranges = [
        ("bytes=0-99".to_owned(), 0..100),
        ("bytes=-77".to_owned(), size - 77..size),
        (format!("bytes={}-", size / 2), size / 2..size),
    ];
    for (coding, _) in CODINGS {
        let said = format!("{} in part with {coding:?}", sample.name);
        for (range, expected) in &ranges {
            let part = taking(&sample.request, coding).header("range", range);
            let part = get(part, &said).await;
            assert_eq!((part.status, part.gzip), (206, false), "{said}");
            let place = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
            assert_eq!(part.header("content-range"), Some(place.as_str()), "{said}");
            assert_eq!(part.header("etag"), whole.header("etag"), "{said}");
            assert_eq!(part.bytes, whole.bytes[expected.clone()], "{said}");
        }
        let mut head = taking(&sample.request, coding).build().expect("a request");
        *head.method_mut() = Method::HEAD;
        let client = tests::harness::client::http().build().expect("a client");
        let head = client.execute(head).await.expect("an answer");
        let head = head.headers();
        assert_eq!(head["content-length"], size.to_string(), "{said}");
        assert!(!head.contains_key("content-encoding"), "{said}");
        assert_eq!(head.get("etag"), whole.headers.get("etag"), "{said}");
    }
}

/// FR1: a download with `Accept-Encoding: gzip` was cut off by a panic. Every route of the list, in every coding.
#[tokio::test]
async fn every_route_has_the_same_bytes_in_every_coding() {
    let samples = Samples::new().await;
    let mut downloads = BTreeSet::new();
    for endpoint in endpoints() {
        let download = DOWNLOADS.contains(&endpoint.path);
        for sample in samples.of(&endpoint) {
            check(&sample, download).await;
            if download {
                downloads.insert(endpoint.path);
                check_parts(&sample).await;
            }
        }
    }
    assert_eq!(downloads, BTreeSet::from(DOWNLOADS), "each is a route");
    samples.app.stop().await;
}
