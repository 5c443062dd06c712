//! HTTP/2: calls share a connection, and every bound holds for each of them.
//!
//! One rule: the server counts connections, and the streams that were ended before their time.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, Version,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outbound::{Call, CallError, HeaderValue, Limits, Outbound, Stage, header};
use tokio::net::TcpListener;

use crate::{
    support::{client, get, given_up, limits, until},
    tls::{acceptor, named},
};

/// What the server saw.
#[derive(Default)]
struct Observed {
    connections: AtomicUsize,
    waiting: AtomicUsize,
    given_up: AtomicUsize,
}

/// Counts when a request is dropped before it is answered.
struct GivenUp(Arc<Observed>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::SeqCst);
    }
}

type Answered = Result<Response<BoxBody<Bytes, Infallible>>, Infallible>;

async fn answered(request: Request<Incoming>, observed: Arc<Observed>) -> Answered {
    assert_eq!(request.version(), Version::HTTP_2);
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")).boxed());
    match request.uri().path() {
        "/silent" => {
            observed.waiting.fetch_add(1, Ordering::SeqCst);
            let _noticed = GivenUp(observed);
            std::future::pending::<()>().await;
        }
        "/endless" => {
            let pieces = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 4096]))));
            *response.body_mut() = BodyExt::boxed(StreamBody::new(pieces));
        }
        "/huge" => {
            let huge = HeaderValue::try_from("x".repeat(200_000)).expect("a value");
            response.headers_mut().insert("x-huge", huge);
        }
        _ => {}
    }
    Ok(response)
}

/// A client, and the server whose name is `peer.test`.
async fn pair() -> (Outbound, String, Arc<Observed>) {
    let (acceptor, authority) = acceptor(&["peer.test"], &[b"h2", b"http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let observed = Arc::new(Observed::default());
    let counted = Arc::clone(&observed);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.expect("a handshake");
            counted.connections.fetch_add(1, Ordering::SeqCst);
            let observed = Arc::clone(&counted);
            let service = service_fn(move |request| answered(request, Arc::clone(&observed)));
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_header_list_size(1 << 20)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    let outbound = client(named(port, vec![authority]));
    (outbound, format!("https://peer.test:{port}"), observed)
}

async fn text(outbound: &Outbound, call: Call) -> Result<Bytes, CallError> {
    outbound.send(call).await?.bytes().await
}

#[tokio::test]
async fn calls_share_a_connection_and_its_bounds_hold_for_each() {
    let (outbound, base, observed) = pair().await;
    let host = base.trim_start_matches("https://");
    let call = |path: &str| {
        let host = HeaderValue::from_str(host).expect("a value");
        get(&format!("{base}{path}")).header(header::HOST, host)
    };
    assert_eq!(text(&outbound, call("/")).await.expect("an answer"), "hello");
    let limit = 1 << 20;
    assert_eq!(
        text(&outbound, call("/endless")).await,
        Err(CallError::AnswerTooLarge { limit })
    );
    let short = Limits {
        first_byte: Duration::from_millis(300),
        ..limits()
    };
    assert_eq!(
        text(&outbound, call("/silent").limits(short)).await,
        Err(CallError::TimedOut(Stage::FirstByte))
    );
    let many: Vec<_> = (0..20).map(|_| text(&outbound, call("/"))).collect();
    for one in futures::future::join_all(many).await {
        assert_eq!(one.expect("an answer"), "hello");
    }
    assert_eq!(observed.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let (outbound, base, _) = pair().await;
    let error = text(&outbound, get(&format!("{base}/huge"))).await.err();
    // HTTP/2 has one error for all that is against its rules, the bound on headers among them.
    assert_eq!(error, Some(CallError::Protocol));
    let usual = text(&outbound, get(&format!("{base}/"))).await;
    assert_eq!(usual.expect("an answer"), "hello");
}

/// Only the stream ends; the connection stays for others.
#[tokio::test]
async fn a_dropped_call_ends_its_stream() {
    let (outbound, base, observed) = pair().await;
    let call = outbound.send(get(&format!("{base}/silent")));
    given_up(call, || observed.waiting.load(Ordering::SeqCst) > 0).await;
    until(|| observed.given_up.load(Ordering::SeqCst) > 0).await;
    let mut body = outbound
        .send(get(&format!("{base}/endless")))
        .await
        .expect("an answer")
        .into_body();
    body.next().await.expect("a piece").expect("read");
    drop(body);
    let usual = text(&outbound, get(&format!("{base}/"))).await;
    assert_eq!(usual.expect("an answer"), "hello");
    assert_eq!(observed.connections.load(Ordering::SeqCst), 1);
}
