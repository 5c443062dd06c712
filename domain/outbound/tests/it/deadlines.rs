//! Servers that take their time.
//!
//! One rule: no test measures how long something took; what would hang without a deadline ends with the right one, within a
//! time that is generous.

use std::time::Duration;

use outbound::{CallError, Limits, Policy, Stage};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{SOON, Server, client, get, limits, local, options, until};

const SHORT: Duration = Duration::from_millis(300);

/// What a call comes to, its body included; the test fails where nothing ends it.
async fn ends(limits: Limits, server: &Server) -> Result<usize, CallError> {
    let whole = async {
        let answer = local().send(get(&server.url()).limits(limits)).await?;
        answer.bytes().await.map(|bytes| bytes.len())
    };
    timeout(SOON, whole).await.expect("it ends by itself")
}

/// Writes a byte, again and again.
async fn trickle(stream: &mut TcpStream, every: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(b"x").await?;
        sleep(every).await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Server::silent().await;
    let limits = Limits {
        first_byte: SHORT,
        ..limits()
    };
    assert_eq!(
        ends(limits, &server).await,
        Err(CallError::TimedOut(Stage::FirstByte))
    );
}

/// A header that never ends, a byte at a time: pieces of a head are no progress.
#[tokio::test]
async fn slow_headers_are_given_up() {
    let server = Server::start(|_, mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
        trickle(&mut stream, Duration::from_millis(50)).await
    })
    .await;
    let limits = Limits {
        first_byte: SHORT,
        ..limits()
    };
    assert_eq!(
        ends(limits, &server).await,
        Err(CallError::TimedOut(Stage::FirstByte))
    );
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let server = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .await?;
        sleep(SOON * 2).await;
        Ok(())
    })
    .await;
    let limits = Limits {
        idle: SHORT,
        ..limits()
    };
    assert_eq!(ends(limits, &server).await, Err(CallError::TimedOut(Stage::Idle)));
}

/// A byte now and then keeps every idle time, and not the whole.
#[tokio::test]
async fn a_body_of_single_bytes_ends_with_the_whole_deadline() {
    let server = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            .await?;
        trickle(&mut stream, Duration::from_millis(50)).await
    })
    .await;
    let limits = Limits {
        total: Duration::from_secs(2),
        ..limits()
    };
    assert_eq!(
        ends(limits, &server).await,
        Err(CallError::TimedOut(Stage::Total))
    );
}

/// The control: the same server is read where the deadlines allow it.
#[tokio::test]
async fn a_slow_body_is_read_to_its_end_where_it_may_be_slow() {
    let server = Server::start(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            .await?;
        for _ in 0..10 {
            stream.write_all(b"x").await?;
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })
    .await;
    assert_eq!(ends(limits(), &server).await, Ok(10));
}

/// A server that does not read: the request stays unsent, which is no progress either.
#[tokio::test]
async fn a_request_that_nobody_reads_is_given_up() {
    let server = Server::silent().await;
    let limits = Limits {
        first_byte: SHORT,
        request_bytes: 1 << 30,
        ..limits()
    };
    let call = get(&server.url()).body(vec![0; 64 << 20]).limits(limits);
    let ended = timeout(SOON, local().send(call))
        .await
        .expect("it ends by itself");
    assert_eq!(ended.err(), Some(CallError::TimedOut(Stage::FirstByte)));
}

/// Sending longer than the first byte may take is fine as long as it goes on.
#[tokio::test]
async fn a_long_request_that_goes_on_is_not_given_up() {
    let server = Server::start(|_, mut stream| async move {
        use tokio::io::AsyncReadExt as _;
        let (mut read, mut piece) = (0_usize, vec![0; 1024]);
        while read < 30 * 16 {
            read += stream.read(&mut piece).await?;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
    })
    .await;
    let pieces = futures::stream::unfold(0, |sent| async move {
        sleep(Duration::from_millis(100)).await;
        (sent < 30).then(|| (Ok::<_, CallError>(bytes::Bytes::from_static(&[7; 16])), sent + 1))
    });
    let limits = Limits {
        first_byte: Duration::from_millis(1_500),
        ..limits()
    };
    let call = get(&server.url())
        .body(outbound::Body::stream(pieces, Some(30 * 16)))
        .limits(limits);
    let answer = local().send(call).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

/// TLS that never begins: the connection is there, the handshake is not.
#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let server = Server::silent().await;
    let mut options = options(Policy::development());
    options.connect_within = SHORT;
    let url = format!("https://127.0.0.1:{}/", server.port);
    let ended = timeout(SOON, client(options).send(get(&url)))
        .await
        .expect("it ends by itself");
    assert_eq!(ended.err(), Some(CallError::TimedOut(Stage::Connect)));
    until(|| server.accepted() == 1).await;
}
