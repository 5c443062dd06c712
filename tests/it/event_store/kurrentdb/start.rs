//! What a start refuses, and what it says.

use std::time::Duration;

use event_store::kurrentdb::{Address, KurrentEventStore, Settings, StartError};

use super::peer::{Mode, Peer};

async fn refused(url: &str) -> StartError {
    let address = Address::parse(url).expect("an address");
    let settings = Settings {
        call_limit: Duration::from_secs(3),
        ..Settings::default()
    };
    let error = KurrentEventStore::start(address, settings).await;
    error.expect_err("refused")
}

async fn refused_when(change: impl FnOnce(&mut Mode)) -> StartError {
    let peer = Peer::start(1).await;
    peer.set(change);
    refused(&peer.url()).await
}

/// A server before 26.1 lacks the append that the port needs; the error names it and the way out.
#[tokio::test]
async fn an_older_server_is_refused_by_its_version() {
    let error = refused_when(|mode| {
        mode.appends = false;
        mode.version = "25.1.4";
    });
    let error = error.await;
    assert_eq!(error, StartError::OldServer("25.1.4".to_owned()));
    let text = error.to_string();
    assert!(text.contains("26.1") && text.contains("PostgreSQL"), "{text}");
}

/// One that calls itself new and lacks the call all the same is found out by trying.
#[tokio::test]
async fn a_server_without_the_append_is_refused_whatever_it_says() {
    let error = refused_when(|mode| mode.appends = false).await;
    assert_eq!(error, StartError::OldServer("26.1.0".to_owned()));
}

#[tokio::test]
async fn a_read_only_server_is_refused() {
    let error = refused_when(|mode| mode.read_only = true).await;
    assert!(matches!(error, StartError::ReadOnly(_)), "{error:?}");
}

/// Wrong credentials are refused without repeating them; the right ones are let in.
#[tokio::test]
async fn wrong_credentials_are_refused_and_not_repeated() {
    let peer = Peer::start(1).await;
    // admin:changeit
    peer.set(|mode| mode.authorization = Some("Basic YWRtaW46Y2hhbmdlaXQ="));
    let url = |login: &str| peer.url().replace("://", &format!("://{login}"));
    for login in ["", "admin:s3cret@"] {
        let error = refused(&url(login)).await;
        assert!(matches!(error, StartError::Denied(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
    let address = Address::parse(&url("admin:change%69t@")).expect("an address");
    let store = KurrentEventStore::start(address, Settings::default()).await;
    assert!(store.expect("let in").close(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn nobody_there_is_said_within_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let error = refused(&format!("esdb://127.0.0.1:{port}?tls=false&defaultDeadline=500")).await;
    assert!(matches!(error, StartError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("tls=false"), "{error}");
}

/// A log that forgets is none.
#[tokio::test]
async fn retention_on_the_whole_log_is_refused() {
    let peer = Peer::start(1).await;
    peer.write("$$$all", "$metadata", "{}", r#"{"$maxAge":3600}"#);
    let error = refused(&peer.url()).await;
    let setting = "$maxAge".to_owned();
    assert_eq!(error, StartError::Forgets { setting });
}
