//! Servers that fail now and then.
//!
//! One rule: how often the server was asked says whether there was a retry; how long each wait is, is tested beside the
//! rule (`src/retry.rs`).

use std::time::Duration;

use outbound::{CallError, HeaderValue, Limits, Method, Policy, Retry, header};

use crate::support::{Names, Server, allowed, answer, client, get, limits, local, options, quickly};

fn unavailable(status: &str) -> String {
    answer(status, "", "busy")
}

async fn status(server: &Server, call: outbound::Call) -> u16 {
    let answer = local().send(call).await.expect("an answer");
    let status = answer.status().as_u16();
    assert!(server.accepted() >= 1);
    status
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for passing in [
        "429 Too Many Requests",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let server = Server::answering(vec![unavailable(passing), answer("200 OK", "", "hello")]).await;
        let call = get(&server.url()).retry(quickly(3));
        assert_eq!(status(&server, call).await, 200, "{passing}");
        assert_eq!(server.accepted(), 2, "{passing}");
    }
}

#[tokio::test]
async fn what_stays_is_answered_after_the_last_try() {
    let server = Server::answering(vec![unavailable("503 Service Unavailable")]).await;
    assert_eq!(status(&server, get(&server.url()).retry(quickly(4))).await, 503);
    assert_eq!(server.accepted(), 4);
}

#[tokio::test]
async fn other_answers_are_not_tried_again() {
    for other in [
        "200 OK",
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "500 Internal",
        "501 Not",
    ] {
        let server = Server::answering(vec![answer(other, "retry-after: 0\r\n", "")]).await;
        status(&server, get(&server.url()).retry(quickly(3))).await;
        assert_eq!(server.accepted(), 1, "{other}");
    }
}

#[tokio::test]
async fn a_post_is_sent_once_unless_the_receiver_knows_a_repeat() {
    let post = |server: &Server| {
        let target = server.url().parse().expect("a target");
        outbound::Call::new("test", Method::POST, target)
            .body(vec![b'x'; 3])
            .retry(quickly(3))
            .limits(limits())
    };
    let scripts = || vec![unavailable("503 Service Unavailable"), answer("200 OK", "", "")];
    let server = Server::answering(scripts()).await;
    assert_eq!(status(&server, post(&server)).await, 503);
    assert_eq!(server.accepted(), 1);

    let server = Server::answering(scripts()).await;
    let call = post(&server).idempotency_key(HeaderValue::from_static("key-1"));
    assert_eq!(status(&server, call).await, 200);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert!(request.contains("idempotency-key: key-1\r\n"), "{request}");
        assert!(
            request.contains("content-length: 3\r\n"),
            "the body was not sent again: {request}"
        );
    }

    let server = Server::answering(scripts()).await;
    assert_eq!(status(&server, post(&server).repeatable()).await, 200);
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_stream_is_sent_once() {
    let server = Server::answering(vec![unavailable("503 Service Unavailable")]).await;
    let pieces = futures::stream::iter([Ok::<_, CallError>(bytes::Bytes::from_static(b"x"))]);
    let call = get(&server.url())
        .retry(quickly(3))
        .body(outbound::Body::stream(pieces, Some(1)));
    assert_eq!(status(&server, call).await, 503);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_cut_connection_is_tried_again() {
    let server = Server::answering(vec![String::new(), answer("200 OK", "", "hello")]).await;
    assert_eq!(status(&server, get(&server.url()).retry(quickly(2))).await, 200);
    assert_eq!(server.accepted(), 2);
}

/// A name that is not found the first time, and a port that nobody listens at.
#[tokio::test]
async fn a_connection_that_fails_is_tried_again() {
    let server = Server::ok().await;
    // Nobody listens at that address of loopback's IPv6 neighbour: the name moves to the server with the second answer.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let mut options = options(Policy::development());
    options.lookup = Names::new(&[("moves.example", &[&[], &["127.0.0.1"]])]);
    let outbound = client(options);
    let url = format!("http://moves.example:{}/", server.port);
    let answer = outbound
        .send(get(&url).retry(quickly(2)))
        .await
        .expect("found the second time");
    assert_eq!(answer.bytes().await.expect("a body"), "hello");

    let closed = get(&format!("http://127.0.0.1:{port}/")).retry(quickly(3));
    assert_eq!(outbound.send(closed).await.err(), Some(CallError::Connect));
}

#[tokio::test]
async fn retry_after_is_honoured_in_both_forms() {
    let dated = "date: Mon, 30 Nov 2026 12:00:00 GMT\r\nretry-after: Mon, 30 Nov 2026 12:00:01 GMT\r\n";
    for asked in ["retry-after: 1\r\n", dated] {
        let limited = answer("429 Too Many Requests", asked, "");
        let server = Server::answering(vec![limited, answer("200 OK", "", "")]).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(status(&server, get(&server.url()).retry(quickly(2))).await, 200);
        // A lower bound is no measurement: it cannot be too slow.
        assert!(
            begun.elapsed() >= Duration::from_secs(1),
            "{asked:?} was not waited for"
        );
        assert_eq!(server.accepted(), 2);
    }
}

/// A server that asks for an hour gets no second try, and holds nobody up.
#[tokio::test]
async fn a_retry_after_that_is_too_long_ends_the_call_with_the_answer() {
    for asked in [
        "retry-after: 3600\r\n",
        "retry-after: 99999999999999999999\r\n",
        "retry-after: Thu, 01 Jan 2099 00:00:00 GMT\r\n",
    ] {
        let server = Server::answering(vec![answer("429 Too Many Requests", asked, "")]).await;
        assert_eq!(status(&server, get(&server.url()).retry(quickly(3))).await, 429);
        assert_eq!(server.accepted(), 1, "{asked}");
    }
}

/// A wait that would pass the whole deadline is not begun.
#[tokio::test]
async fn no_retry_passes_the_deadline() {
    let server = Server::answering(vec![answer("503 Service Unavailable", "retry-after: 20\r\n", "")]).await;
    let limits = Limits {
        total: Duration::from_secs(10),
        ..limits()
    };
    let call = get(&server.url()).retry(quickly(3)).limits(limits);
    assert_eq!(status(&server, call).await, 503);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let names = Names::new(&[("inner.example", &[&["10.0.0.1"]])]);
    let mut options = options(Policy::default().allow(allowed("192.168.0.0/16")));
    options.lookup = names.clone();
    let call = get("https://inner.example/").retry(Retry {
        tries: 5,
        ..quickly(5)
    });
    let error = client(options).send(call).await.err();
    assert!(matches!(error, Some(CallError::Refused(_))), "{error:?}");
    assert_eq!(names.asked(), 1);
}

#[tokio::test]
async fn what_is_sent_is_what_was_said() {
    let server = Server::ok().await;
    let call = get(&format!("{}v1/models?x=y%20z", server.url()))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"));
    status(&server, call).await;
    let sent = server.requests().remove(0);
    assert!(sent.starts_with("GET /v1/models?x=y%20z HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("user-agent: anneal/"), "{sent}");
    assert!(
        !sent.contains("accept-encoding") && !sent.contains("cookie"),
        "{sent}"
    );
}
