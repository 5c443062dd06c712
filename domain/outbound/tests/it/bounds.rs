//! Servers that send too much, and clients that call too often.
//!
//! One rule: what is over a bound is cut off, and the connection with it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use outbound::{Body, Call, CallError, Concurrency, Limits, Method, Policy, Stage};
use tokio::{io::AsyncWriteExt as _, sync::Notify, time::sleep};

use crate::support::{SOON, Server, answer, client, get, limits, local, options, post};

async fn ended(server: &Server, answer_bytes: u64) -> Result<usize, CallError> {
    let limits = Limits {
        answer_bytes,
        ..limits()
    };
    let answer = local().send(get(&server.url()).limits(limits)).await?;
    answer.bytes().await.map(|bytes| bytes.len())
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let server = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        let piece = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        loop {
            stream.write_all(&piece).await?;
        }
    })
    .await;
    let limit = 1 << 20;
    assert_eq!(
        ended(&server, limit).await,
        Err(CallError::AnswerTooLarge { limit })
    );
}

#[tokio::test]
async fn a_length_over_the_limit_is_not_read_at_all() {
    let server = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
            .await?;
        sleep(SOON * 2).await;
        Ok(())
    })
    .await;
    let limit = 1 << 20;
    assert_eq!(
        ended(&server, limit).await,
        Err(CallError::AnswerTooLarge { limit })
    );
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let server = Server::answering(vec![answer("200 OK", "", "12345")]).await;
    assert_eq!(ended(&server, 5).await, Ok(5));
    assert_eq!(
        ended(&server, 4).await,
        Err(CallError::AnswerTooLarge { limit: 4 })
    );
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let huge = format!("x-huge: {}\r\n", "x".repeat(200_000));
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    for headers in [huge, many] {
        let server = Server::answering(vec![answer("200 OK", &headers, "")]).await;
        assert_eq!(ended(&server, 100).await, Err(CallError::HeadersTooLarge));
    }
    let usual = format!("x-large: {}\r\n", "x".repeat(20_000));
    let server = Server::answering(vec![answer("200 OK", &usual, "")]).await;
    assert_eq!(ended(&server, 100).await, Ok(0));
}

/// A header that goes on for ever is cut at the limit, not at the deadline.
#[tokio::test]
async fn endless_headers_are_cut() {
    let server = Server::start(|_, mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-endless: ").await?;
        loop {
            stream.write_all(&[b'x'; 4096]).await?;
        }
    })
    .await;
    assert_eq!(ended(&server, 100).await, Err(CallError::HeadersTooLarge));
}

#[tokio::test]
async fn what_is_cut_in_the_middle_is_an_error() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all".to_owned();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nnot all".to_owned();
    let nothing = String::new();
    for script in [cut, chunked, nothing] {
        let server = Server::answering(vec![script]).await;
        assert_eq!(ended(&server, 1_000).await, Err(CallError::Interrupted));
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
    ] {
        let server = Server::answering(vec![text.to_owned()]).await;
        assert_eq!(ended(&server, 1_000).await, Err(CallError::Protocol), "{text:?}");
    }
}

#[tokio::test]
async fn requests_over_the_limit_are_not_sent() {
    let server = Server::ok().await;
    let small = Limits {
        request_bytes: 4,
        ..limits()
    };
    let long = get(&server.url()).limits(small).body(vec![0; 5]);
    let error = local().send(long).await.err();
    assert_eq!(error, Some(CallError::RequestTooLarge { limit: 4 }));
    assert_eq!(server.accepted(), 0);

    let pieces =
        |number: usize| futures::stream::iter(vec![Ok::<_, CallError>(Bytes::from_static(b"xyz")); number]);
    let silent = Server::silent().await;
    let unknown = post(&silent.url())
        .limits(small)
        .body(Body::stream(pieces(2), None));
    let error = local().send(unknown).await.err();
    assert_eq!(error, Some(CallError::RequestTooLarge { limit: 4 }));
    for (number, length) in [(1, 4), (2, 4)] {
        let other = get(&silent.url()).body(Body::stream(pieces(number), Some(length)));
        let error = local().send(other).await.err();
        assert!(
            matches!(error, Some(CallError::Request(_))),
            "{number}: {error:?}"
        );
    }
}

/// What HTTP has no way to send as it was meant is refused; it was once left out, and the call went without its body.
#[tokio::test]
async fn methods_that_cannot_be_sent_as_meant_are_refused() {
    let server = Server::ok().await;
    let target = || server.url().parse().expect("a target");
    let body = || {
        Body::stream(
            futures::stream::iter([Ok::<_, CallError>(Bytes::from_static(b"x"))]),
            None,
        )
    };
    for (method, body) in [
        (Method::GET, body()),
        (Method::HEAD, body()),
        (Method::CONNECT, Body::empty()),
        (Method::TRACE, Body::empty()),
    ] {
        let call = Call::new("test", method.clone(), target())
            .limits(limits())
            .body(body);
        let error = local().send(call).await.err();
        assert!(
            matches!(error, Some(CallError::Request(_))),
            "{method}: {error:?}"
        );
    }
    assert_eq!(server.accepted(), 0);
    let sent = post(&server.url()).body(body());
    local().send(sent).await.expect("an answer");
    assert!(server.requests()[0].contains("transfer-encoding: chunked\r\n"));
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_callers() {
    use outbound::{HeaderValue, header};
    let server = Server::ok().await;
    let value = HeaderValue::from_static;
    for (name, value) in [
        (header::HOST, value("good.example")),
        (header::CONTENT_LENGTH, value("7")),
        (header::TRANSFER_ENCODING, value("chunked")),
        (header::CONNECTION, value("upgrade")),
        (header::UPGRADE, value("h2c")),
    ] {
        let call = get(&server.url()).header(name.clone(), value);
        let error = local().send(call).await.err();
        assert!(matches!(error, Some(CallError::Request(_))), "{name}: {error:?}");
    }
    assert_eq!(server.accepted(), 0);
    // What signatures of object stores need: the right values.
    let host = HeaderValue::try_from(format!("127.0.0.1:{}", server.port)).expect("a value");
    let call = get(&server.url())
        .header(header::HOST, host)
        .header(header::CONTENT_LENGTH, value("2"))
        .body(vec![1, 2]);
    local().send(call).await.expect("an answer");
    let sent = &server.requests()[0];
    assert_eq!(sent.to_lowercase().matches("host:").count(), 1, "{sent}");
    assert_eq!(
        sent.to_lowercase().matches("content-length: 2").count(),
        1,
        "{sent}"
    );
}

/// Answers in full when told to; until then all connections wait.
async fn waiting_server(go: &Arc<Notify>) -> Server {
    let go = Arc::clone(go);
    Server::start(move |_, mut stream| {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            stream.write_all(answer("200 OK", "", "hello").as_bytes()).await
        }
    })
    .await
}

#[tokio::test]
async fn only_so_many_calls_are_under_way() {
    let go = Arc::new(Notify::new());
    let server = waiting_server(&go).await;
    let mut options = options(Policy::development());
    options.concurrency = Concurrency {
        per_destination: 2,
        queue: Duration::from_millis(300),
        ..Concurrency::default()
    };
    let outbound = client(options);
    let call = || {
        let (outbound, url) = (outbound.clone(), server.url());
        tokio::spawn(async move { outbound.send(get(&url)).await })
    };
    let held = [call(), call()];
    while server.accepted() < 2 {
        sleep(Duration::from_millis(5)).await;
    }
    let third = call().await.expect("no panic");
    assert_eq!(third.err(), Some(CallError::TimedOut(Stage::Queue)));
    assert_eq!(server.accepted(), 2);
    // Another destination has a turn of its own.
    let other = Server::ok().await;
    outbound.send(get(&other.url())).await.expect("an answer");

    go.notify_one();
    go.notify_one();
    let mut answers = Vec::new();
    for held in held {
        answers.push(held.await.expect("no panic").expect("an answer"));
    }
    // An answer that is not read yet still is a call.
    let fourth = call().await.expect("no panic");
    assert_eq!(fourth.err(), Some(CallError::TimedOut(Stage::Queue)));
    for answer in answers {
        assert_eq!(answer.bytes().await.expect("a body"), "hello");
    }
    go.notify_one();
    call().await.expect("no panic").expect("its turn has come");
}

#[tokio::test]
async fn all_destinations_together_have_a_bound() {
    let go = Arc::new(Notify::new());
    let (server, other) = (waiting_server(&go).await, Server::ok().await);
    let mut options = options(Policy::development());
    options.concurrency = Concurrency {
        total: 1,
        queue: Duration::from_millis(200),
        ..Concurrency::default()
    };
    let outbound = client(options);
    let held = tokio::spawn({
        let (outbound, url) = (outbound.clone(), server.url());
        async move { outbound.send(get(&url)).await }
    });
    while server.accepted() < 1 {
        sleep(Duration::from_millis(5)).await;
    }
    let refused = outbound.send(get(&other.url())).await;
    assert_eq!(refused.err(), Some(CallError::TimedOut(Stage::Queue)));
    go.notify_one();
    held.await
        .expect("no panic")
        .expect("an answer")
        .bytes()
        .await
        .expect("a body");
    outbound.send(get(&other.url())).await.expect("its turn has come");
}

/// What `object_store` and `openidconnect` need: requests and answers as `http` has them, bodies as streams.
#[tokio::test]
async fn a_library_gets_requests_and_answers_as_it_knows_them() {
    fn is_shared<T: Send + Sync + http_body::Body>(_: &T) {}
    let server = Server::answering(vec![answer("206 Partial Content", "etag: \"a\"\r\n", "hello")]).await;
    let request = http::Request::builder()
        .method(Method::PUT)
        .uri(server.url())
        .header("x-amz-date", "20261130T000000Z")
        .body(Body::Chunks(vec![
            Bytes::from_static(b"one "),
            Bytes::from_static(b"two"),
        ]))
        .expect("a request");
    let call = outbound::Call::from_request("objects", request).expect("allowed so far");
    let response = local()
        .send(call.limits(limits()))
        .await
        .expect("an answer")
        .into_response();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["etag"]),
        (206, &"\"a\"".parse().expect("a value"))
    );
    is_shared(response.body());
    let pieces: Vec<_> = response.into_body().collect().await;
    let all: Result<Vec<Bytes>, CallError> = pieces.into_iter().collect();
    assert_eq!(all.expect("a body").concat(), b"hello");
    let sent = &server.requests()[0];
    assert!(
        sent.starts_with("PUT / HTTP/1.1\r\n") && sent.contains("content-length: 7\r\n"),
        "{sent}"
    );
}
