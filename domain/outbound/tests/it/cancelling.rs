//! Callers that go away.
//!
//! One rule: who drops a call or its answer ends it on the server's side too, and gives its turn back.

use std::sync::Arc;

use futures::StreamExt as _;
use outbound::{Concurrency, Policy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    time::timeout,
};

use crate::support::{SOON, Server, client, get, given_up, options};

/// A server that begins an answer and tells when its client has gone.
async fn noticing(head: &'static [u8]) -> (Server, Arc<Semaphore>) {
    let gone = Arc::new(Semaphore::new(0));
    let tell = Arc::clone(&gone);
    let server = Server::start(move |_, mut stream| {
        let tell = Arc::clone(&tell);
        async move {
            stream.write_all(head).await?;
            let mut rest = Vec::new();
            // Ends when the client closes, in order or not.
            let _closed = stream.read_to_end(&mut rest).await;
            tell.add_permits(1);
            Ok(())
        }
    })
    .await;
    (server, gone)
}

fn one_at_a_time() -> outbound::Outbound {
    let mut options = options(Policy::development());
    options.concurrency = Concurrency {
        total: 1,
        per_destination: 1,
        ..Concurrency::default()
    };
    client(options)
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection_and_gives_its_turn_back() {
    let (server, gone) = noticing(b"").await;
    let outbound = one_at_a_time();
    let call = outbound.send(get(&server.url()));
    given_up(call, || !server.requests().is_empty()).await;
    let closed = timeout(SOON, gone.acquire()).await.expect("the server sees it");
    closed.expect("open").forget();
    let other = Server::ok().await;
    outbound.send(get(&other.url())).await.expect("its turn has come");
}

#[tokio::test]
async fn a_dropped_answer_closes_its_connection_and_gives_its_turn_back() {
    let (server, gone) = noticing(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst").await;
    let outbound = one_at_a_time();
    let mut body = outbound
        .send(get(&server.url()))
        .await
        .expect("an answer")
        .into_body();
    assert_eq!(body.next().await.expect("a piece").expect("read"), "first");
    drop(body);
    let closed = timeout(SOON, gone.acquire()).await.expect("the server sees it");
    closed.expect("open").forget();
    let other = Server::ok().await;
    outbound.send(get(&other.url())).await.expect("its turn has come");
}
