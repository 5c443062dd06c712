//! Names that have other addresses the next time, and what clients of other protocols get.
//!
//! One rule: what counts is the address at the time of the connection.

use std::{net::SocketAddr, time::Duration};

use outbound::{Allowed, CallError, Guard, Policy, Refusal, Service, Stage, address::Special};

use crate::support::{Names, SOON, Server, allowed, client, get, options, until};

/// One address of loopback is allowed, as a network; its neighbour reaches the same listener and is not.
fn one_address() -> Policy {
    Policy::default().allow(allowed("127.0.0.1/32"))
}

#[tokio::test]
async fn a_second_answer_is_judged_anew() {
    let server = Server::ok().await;
    let names = Names::new(&[("rebind.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let mut options = options(one_address());
    options.lookup = names.clone();
    // The server waits for a request in the clear; what is to be seen is over by then.
    options.connect_within = Duration::from_secs(2);
    let outbound = client(options);
    let url = format!("https://rebind.example:{}/", server.port);

    // The server speaks no TLS, so the call fails; that it connected is what counts.
    let first = outbound.send(get(&url)).await.expect_err("no TLS there");
    assert!(!matches!(first, CallError::Refused(_)), "{first:?}");
    until(|| server.accepted() == 1).await;
    assert_eq!(names.asked(), 1, "judged and connected once");
    let second = outbound.send(get(&url)).await;
    assert_eq!(
        second.err(),
        Some(CallError::Refused(Refusal::Address(Special::Loopback)))
    );
    assert_eq!(
        (server.accepted(), names.asked()),
        (1, 2),
        "the second answer was connected to"
    );
}

/// Between judging and connecting there is no further lookup: the answer that was judged is the one that is used.
#[tokio::test]
async fn a_connection_goes_to_what_was_judged() {
    let server = Server::ok().await;
    let names = Names::new(&[("rebind.example", &[&["127.0.0.1"], &["10.255.255.1"]])]);
    let policy = Policy::default().allow(allowed(&format!("http://rebind.example:{}", server.port)));
    let mut options = options(policy);
    options.lookup = names.clone();
    let url = format!("http://rebind.example:{}/", server.port);
    let answer = client(options).send(get(&url)).await.expect("an answer");
    assert_eq!(answer.bytes().await.expect("a body"), "hello");
    assert_eq!((server.accepted(), names.asked()), (1, 1));
}

fn guard(policy: Policy, names: &[(&str, &[&[&str]])]) -> Guard {
    Guard::new(policy.into(), Names::new(names), Duration::from_secs(10))
}

#[tokio::test]
async fn a_mail_client_gets_judged_addresses() {
    let names: &[(&str, &[&[&str]])] = &[
        ("mail.example", &[&["93.184.216.34", "2606:2800:220:1::1"]]),
        ("relay.internal", &[&["10.20.0.9"]]),
        ("evil.example", &[&["93.184.216.34", "10.20.0.9"]]),
    ];
    let guard = guard(
        Policy::default().allow(allowed("smtp://relay.internal:2526")),
        names,
    );
    let found = guard
        .addresses(Service::Smtp, "mail.example", 587)
        .await
        .expect("public");
    let expected: Vec<SocketAddr> = vec![
        "93.184.216.34:587".parse().expect("an address"),
        "[2606:2800:220:1::1]:587".parse().expect("an address"),
    ];
    assert_eq!(found, expected);
    let relay = guard
        .addresses(Service::Smtp, "relay.internal", 2526)
        .await
        .expect("allowed");
    assert_eq!(relay, vec!["10.20.0.9:2526".parse().expect("an address")]);
    for (host, port, refusal) in [
        ("relay.internal", 25, Refusal::Address(Special::Private)),
        ("evil.example", 25, Refusal::Address(Special::Private)),
        ("mail.example", 443, Refusal::Port(443)),
        ("127.0.0.1", 25, Refusal::Address(Special::Loopback)),
        ("0x7f.1", 25, Refusal::Address(Special::Loopback)),
        ("::1", 25, Refusal::Address(Special::Loopback)),
        ("[::ffff:10.0.0.1]", 25, Refusal::Address(Special::Private)),
        ("a b", 25, Refusal::Host),
    ] {
        let refused = guard.addresses(Service::Smtp, host, port).await;
        assert_eq!(refused, Err(CallError::Refused(refusal)), "{host}:{port}");
    }
    assert_eq!(
        guard.addresses(Service::Smtp, "unknown.example", 25).await,
        Err(CallError::Lookup)
    );
}

#[tokio::test]
async fn the_guard_connects_to_allowed_hosts_only() {
    let server = Server::ok().await;
    let names: &[(&str, &[&[&str]])] = &[
        ("mail.internal", &[&["127.0.0.1"]]),
        ("other.internal", &[&["127.0.0.1"]]),
    ];
    let guard = guard(
        Policy::default().allow(allowed(&format!("smtp://mail.internal:{}", server.port))),
        names,
    );
    let refused = guard
        .connect(Service::Smtp, "other.internal", server.port, SOON)
        .await;
    assert!(matches!(refused, Err(CallError::Refused(_))));
    let stream = guard
        .connect(Service::Smtp, "mail.internal", server.port, SOON)
        .await;
    assert_eq!(
        stream.expect("allowed").peer_addr().expect("connected").port(),
        server.port
    );
}

/// A name server that says nothing is given up.
#[tokio::test]
async fn a_lookup_has_a_deadline() {
    struct Silent;
    #[async_trait::async_trait]
    impl outbound::Lookup for Silent {
        async fn lookup(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
            std::future::pending().await
        }
    }
    let guard = Guard::new(
        Policy::default().into(),
        std::sync::Arc::new(Silent),
        Duration::from_millis(100),
    );
    let asked = guard.addresses(Service::Https, "slow.example", 443);
    let given_up = tokio::time::timeout(SOON, asked).await;
    assert_eq!(
        given_up.expect("it ends by itself"),
        Err(CallError::TimedOut(Stage::Lookup))
    );
}

#[test]
fn what_nobody_may_allow_cannot_be_allowed() {
    for text in [
        "169.254.169.254",
        "169.254.0.0/16",
        "0.0.0.0/0",
        "::/0",
        "8.8.8.0/24",
        "10.0.0.0/7",
        "127.0.0.0/7",
        "fe80::/10",
        "224.0.0.0/4",
        "2002::/16",
        "http://169.254.169.254",
        "http://100.100.100.200:80",
        "https://[fe80::1]:8443",
        "https://host/path",
        "https://user@host",
        "https://host?x",
        "*.internal",
        "ftp://host",
        "",
    ] {
        assert!(text.parse::<Allowed>().is_err(), "{text:?} was allowed");
    }
    for text in [
        "10.0.0.0/8",
        "127.0.0.1",
        "::1",
        "fd00::/8",
        "100.64.0.0/10",
        "smtp://mail.internal",
    ] {
        assert!(text.parse::<Allowed>().is_ok(), "{text:?}");
    }
    // Metadata services inside of networks that are allowed stay refused.
    let policy = Policy::default()
        .allow(allowed("100.64.0.0/10"))
        .allow(allowed("fd00::/8"));
    for address in ["100.100.100.200", "fd00:ec2::254"] {
        let destination = outbound::Destination::new(Service::Https, address, 443).expect("a host");
        let refused = policy.check(&destination);
        assert_eq!(refused, Err(Refusal::Address(Special::Metadata)), "{address}");
    }
}

#[test]
fn an_installation_can_forbid_its_own_public_address() {
    let policy = Policy::default().forbid("93.184.216.0/24".parse().expect("a network"));
    // In every form that reaches it.
    for host in ["93.184.216.34", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"] {
        let destination = outbound::Destination::new(Service::Https, host, 443).expect("a host");
        assert_eq!(
            policy.check(&destination),
            Err(Refusal::Address(Special::Forbidden)),
            "{host}"
        );
        assert_eq!(Policy::default().check(&destination), Ok(()), "{host}");
    }
}
