//! The breaker around a server that fails and comes back.
//!
//! One rule: what the breaker saves the server is counted by the server.

use std::time::Duration;

use outbound::{BreakerOptions, CallError, Concurrency, Outbound, Policy};
use tokio::time::sleep;

use crate::support::{Names, Server, answer, client, get, options};

const PAUSE: Duration = Duration::from_millis(1_500);

fn breaking(lookup: Option<std::sync::Arc<Names>>) -> Outbound {
    let mut options = options(Policy::development());
    options.breaker = BreakerOptions {
        failures: 3,
        first: PAUSE,
        longest: PAUSE * 4,
    };
    options.concurrency = Concurrency {
        destinations: 8,
        ..Concurrency::default()
    };
    if let Some(lookup) = lookup {
        options.lookup = lookup;
    }
    client(options)
}

async fn called(outbound: &Outbound, server: &Server) -> Result<u16, CallError> {
    let answer = outbound.send(get(&server.url())).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn it_opens_after_failures_in_a_row_and_closes_after_a_probe() {
    let mut answers = vec![answer("503 Service Unavailable", "", ""); 4];
    answers.push(answer("200 OK", "", ""));
    let (server, other) = (Server::answering(answers).await, Server::ok().await);
    let outbound = breaking(None);
    for _ in 0..3 {
        assert_eq!(called(&outbound, &server).await, Ok(503));
    }
    for _ in 0..20 {
        let refused = called(&outbound, &server).await;
        assert!(
            matches!(refused, Err(CallError::BreakerOpen { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(server.accepted(), 3, "the server was left alone");
    assert_eq!(
        called(&outbound, &other).await,
        Ok(200),
        "others are not concerned"
    );

    // Half open: one probe goes through, fails, and opens it again.
    sleep(PAUSE).await;
    assert_eq!(called(&outbound, &server).await, Ok(503));
    assert!(matches!(
        called(&outbound, &server).await,
        Err(CallError::BreakerOpen { .. })
    ));
    assert_eq!(server.accepted(), 4);

    // The next probe comes after twice the time, succeeds, and closes it.
    sleep(PAUSE * 2).await;
    for calls in 5..10 {
        assert_eq!(called(&outbound, &server).await, Ok(200));
        assert_eq!(server.accepted(), calls);
    }
}

#[tokio::test]
async fn a_success_between_failures_keeps_it_closed() {
    let failing = answer("502 Bad Gateway", "", "");
    let answers = vec![
        failing.clone(),
        failing.clone(),
        answer("200 OK", "", ""),
        failing.clone(),
        failing,
        answer("200 OK", "", ""),
    ];
    let server = Server::answering(answers).await;
    let outbound = breaking(None);
    for _ in 0..6 {
        called(&outbound, &server).await.expect("it stays closed");
    }
}

/// What is the caller's fault, or only means "later", says nothing against the server.
#[tokio::test]
async fn refusals_of_the_server_do_not_open_it() {
    for status in [
        "400 Bad Request",
        "401 Unauthorized",
        "429 Too Many Requests",
        "500 Internal",
    ] {
        let server = Server::answering(vec![answer(status, "", "")]).await;
        let outbound = breaking(None);
        for _ in 0..10 {
            called(&outbound, &server).await.expect("it stays closed");
        }
        assert_eq!(server.accepted(), 10, "{status}");
    }
}

#[tokio::test]
async fn bodies_that_break_off_open_it() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all".to_owned();
    let server = Server::answering(vec![cut]).await;
    let outbound = breaking(None);
    for _ in 0..3 {
        let answer = outbound.send(get(&server.url())).await.expect("a head");
        assert_eq!(answer.bytes().await, Err(CallError::Interrupted));
    }
    let refused = outbound.send(get(&server.url())).await.err();
    assert!(
        matches!(refused, Some(CallError::BreakerOpen { .. })),
        "{refused:?}"
    );
    assert_eq!(server.accepted(), 3);
}

/// A refused address is the policy's doing: it neither opens the breaker nor uses its probe up.
#[tokio::test]
async fn refused_addresses_do_not_open_it() {
    let names = Names::new(&[("inner.example", &[&["10.0.0.1"]])]);
    let outbound = breaking(Some(names.clone()));
    for asked in 1..=10 {
        let error = outbound.send(get("https://inner.example/")).await.err();
        assert!(matches!(error, Some(CallError::Refused(_))), "{error:?}");
        assert_eq!(names.asked(), asked);
    }
}
