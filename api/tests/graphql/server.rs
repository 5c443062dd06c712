//! HT-2: the listening side.

use std::time::Duration;

use api::http::graphql::EndpointOptions;
use api::http::server::{Drained, ServerOptions};
use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, http, start, start_with};

#[tokio::test]
async fn every_answer_has_its_id_and_the_security_headers() {
    let server = start().await;
    for path in ["/graphql?query=%7Bversion%7D", "/nothing", "/panic"] {
        let url = format!("http://{}{path}", server.address);
        let response = server
            .client
            .get(url)
            .header("x-request-id", "a b")
            .send()
            .await
            .expect("an answer");
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert!(
            headers["content-security-policy"]
                .to_str()
                .expect("text")
                .contains("frame-ancestors 'none'")
        );
        assert!(
            headers["strict-transport-security"]
                .to_str()
                .expect("text")
                .contains("31536000")
        );
        assert_eq!(headers["x-request-id"].len(), 32, "not the client's");
    }
}

#[tokio::test]
async fn a_panicking_route_is_a_problem_with_the_request_id() {
    let server = start().await;
    let url = format!("http://{}/panic", server.address);
    let response = server
        .client
        .get(url)
        .header("x-request-id", "mine-2")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.expect("JSON");
    assert_eq!(
        (&problem["requestId"], &problem["status"]),
        (&"mine-2".into(), &500.into())
    );
    assert!(!problem.to_string().contains("purpose"), "{problem}");
}

/// How long a test waits for what has to come, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server that waits so long for a request's headers.
async fn waiting(header_timeout: Duration) -> Server {
    let options = ServerOptions {
        header_timeout,
        ..ServerOptions::default()
    };
    start_with(EndpointOptions::default(), options).await
}

async fn sending(server: &Server, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(sent).await.expect("sends");
    stream
}

/// What the server says until it ends the connection.
async fn until_its_end(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer));
    // What was sent and never read makes the kernel end the connection with a reset.
    if let Err(error) = reading.await.expect("the server ends the connection") {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    answer
}

/// By the time-out for headers and nothing else: where that is long, the same connections stay.
#[tokio::test]
async fn slow_headers_are_cut_off_by_their_timeout_wherever_they_stop() {
    let (short, long) = (
        waiting(Duration::from_millis(300)).await,
        waiting(Duration::from_secs(3_600)).await,
    );
    for sent in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ",
    ] {
        let mut kept = sending(&long, sent).await;
        until_its_end(sending(&short, sent).await).await;
        let read = kept.read_u8().now_or_never();
        assert!(read.is_none(), "{sent:?}: {read:?}");
    }
}

/// The status line and the body of what the server answers to a whole request.
async fn answered(server: &Server, request: &str) -> (String, Value) {
    let answer = until_its_end(sending(server, request.as_bytes()).await).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    let status = head.lines().next().unwrap_or_default().to_owned();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// RFC 9112, 3.2: a request names one host, in the form of one.
#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let server = waiting(TIMEOUT).await;
    let request = |version: &str, hosts: &str| {
        format!("GET /graphql?query=%7Bversion%7D HTTP/{version}\r\n{hosts}connection: close\r\n\r\n")
    };
    for wrong in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: a b\r\n",
        "host: a, b\r\n",
        "host: user@a\r\n",
        "host: a:x\r\n",
        "host: a/b\r\n",
        "host: a?b\r\n",
        "host: http://a\r\n",
        "host: \u{e9}\r\n",
    ] {
        let (status, problem) = answered(&server, &request("1.1", wrong)).await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{wrong}");
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&"about:blank".into(), &400.into()),
            "{wrong}"
        );
        assert_eq!(problem["requestId"].as_str().map(str::len), Some(32), "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("Host"), "{wrong}: {problem}");
    }
    for right in [
        "host: a\r\n",
        "host: a.example:8080\r\n",
        "host: 127.0.0.1:1\r\n",
        "host: [::1]:1\r\n",
        "host:\r\n",
    ] {
        let (status, body) = answered(&server, &request("1.1", right)).await;
        assert_eq!(
            (status.as_str(), &body["data"]["version"]),
            ("HTTP/1.1 200 OK", &"1".into()),
            "{right}"
        );
    }
    let (status, _) = answered(&server, &request("1.0", "")).await;
    assert_eq!(status, "HTTP/1.0 200 OK", "older clients know no Host");
    let (status, _) = answered(&server, &request("1.0", "host: a\r\nhost: b\r\n")).await;
    assert_eq!(status, "HTTP/1.0 400 Bad Request");
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_start_with_it() {
    let server = start().await;
    let client = http().timeout(Duration::from_secs(20)).http2_prior_knowledge();
    let url = format!("{}?query=%7Bversion%7D", server.url());
    let response = client
        .build()
        .expect("a client")
        .get(url)
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (response.version(), response.status().as_u16()),
        (reqwest::Version::HTTP_2, 200)
    );
}

#[tokio::test]
async fn long_headers_are_refused() {
    let header = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n",
        "x".repeat(40 * 1024)
    );
    let server = waiting(TIMEOUT).await;
    let answer = until_its_end(sending(&server, header.as_bytes()).await).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_server_that_shuts_down_finishes_what_it_has() {
    let server = start().await;
    let slow = server
        .client
        .get(format!("http://{}/slow", server.address))
        .send();
    let slow = tokio::spawn(slow);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.token.cancel();
    assert_eq!(slow.await.expect("joins").expect("an answer").status(), 200);
    assert_eq!(server.serving.await.expect("joins"), Drained::Fully);
    TcpStream::connect(server.address)
        .await
        .expect_err("nobody listens any more");
}

#[tokio::test]
async fn draining_ends_with_its_time() {
    let options = ServerOptions {
        drain: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let server = start_with(EndpointOptions::default(), options).await;
    let slow = tokio::spawn(
        server
            .client
            .get(format!("http://{}/slow", server.address))
            .send(),
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.token.cancel();
    assert_eq!(server.serving.await.expect("joins"), Drained::TimedOut);
    assert!(slow.await.expect("joins").is_err());
}
