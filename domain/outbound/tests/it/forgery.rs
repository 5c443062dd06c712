//! D4: no forged request connects, by whatever spelling, name or redirect.
//!
//! One rule: the listener has the last word, and every payload that could reach it is shown to reach it without the guard.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use outbound::{CallError, Lookup as _, Outbound, Policy, Refusal, Target};
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::{
    payloads::{NAMES, PAYLOADS, Payload},
    support::{Names, SOON, Server, allowed, answer, client, get, options},
};

/// The policies under which the corpus is refused: that of strangers, and one that has allowed something else.
fn policies(port: u16) -> Vec<(&'static str, Policy)> {
    let other = Policy::default()
        .allow(allowed(&format!("https://minio.internal:{port}")))
        .allow(allowed(&format!("http://ollama.internal:{port}")))
        .allow(allowed("10.20.0.0/16"))
        .allow(allowed("fd99::/16"));
    vec![("public", Policy::default()), ("others allowed", other)]
}

/// What becomes of an address: by the strict reading of text, and by a URL that somebody else has parsed.
async fn sent(outbound: &Outbound, text: &str) -> Vec<Result<u16, CallError>> {
    let parsed = Url::parse(text)
        .map_err(|_| Refusal::Unparsable)
        .and_then(Target::new);
    let mut results = Vec::new();
    for target in [text.parse::<Target>(), parsed] {
        results.push(match target {
            Ok(target) => {
                let call = outbound::Call::new("test", outbound::Method::GET, target);
                outbound.send(call).await.map(|answer| answer.status().as_u16())
            }
            Err(refusal) => Err(refusal.into()),
        });
    }
    results
}

/// Connects as a client without a guard would: parsed by the standard, resolved, connected.
async fn connects_unguarded(text: &str, names: &Names) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let port = url.port_or_known_default().unwrap_or_default();
    let addresses = match url.host() {
        Some(Host::Ipv4(address)) => vec![address.into()],
        Some(Host::Ipv6(address)) => vec![address.into()],
        Some(Host::Domain(name)) => names.lookup(name.trim_end_matches('.')).await.unwrap_or_default(),
        None => return false,
    };
    for address in addresses {
        // A public address cannot be reached from here; waiting for that would only take time.
        let own = address.is_loopback() || address.is_unspecified() || address.to_canonical().is_loopback();
        if own && TcpStream::connect(SocketAddr::new(address, port)).await.is_ok() {
            return true;
        }
    }
    false
}

#[test]
fn the_corpus_is_large_and_has_no_payload_twice() {
    let mut urls: Vec<_> = PAYLOADS.iter().map(|payload| payload.url).collect();
    assert!(urls.len() >= 60, "{}", urls.len());
    assert!(PAYLOADS.iter().filter(|payload| payload.lands).count() >= 40);
    urls.sort_unstable();
    urls.dedup();
    assert_eq!(urls.len(), PAYLOADS.len());
}

#[tokio::test]
async fn no_payload_connects() {
    let server = Server::ok().await;
    for (which, policy) in policies(server.port) {
        let mut options = options(policy);
        options.lookup = Names::new(NAMES);
        let outbound = client(options);
        for Payload { url, .. } in PAYLOADS {
            let text = url.replace("PORT", &server.port.to_string());
            for result in sent(&outbound, &text).await {
                let refused = matches!(result, Err(CallError::Refused(_)));
                // A name without any address is no forgery; nothing can be connected to either.
                let nobody = text.contains("empty.") && result == Err(CallError::Lookup);
                assert!(refused || nobody, "{which}: {text:?} gave {result:?}");
                assert_eq!(server.accepted(), 0, "{which}: {text:?} connected");
            }
        }
    }
}

/// The control: without the guard the same payloads reach the same listener, so a count of none means something.
#[tokio::test]
async fn payloads_reach_the_listener_without_the_guard() {
    let server = Server::ok().await;
    let names = Names::new(NAMES);
    let six = ("::1", server.port).to_socket_addrs().is_ok()
        && TcpStream::connect(("::1", server.port)).await.is_ok();
    for Payload { url, lands } in PAYLOADS {
        let needs_six = url.contains("[::]")
            || url.contains(":1]")
            || url.contains("0001]")
            || url.contains("6.attacker");
        if needs_six && !six {
            continue;
        }
        let text = url.replace("PORT", &server.port.to_string());
        let connected = connects_unguarded(&text, &names).await;
        assert!(connected || !lands, "{text:?} was expected to reach the listener");
    }
}

/// The control of the client: what is allowed does connect, by name and by address.
#[tokio::test]
async fn what_is_allowed_connects() {
    let server = Server::ok().await;
    let port = server.port;
    let names = Names::new(&[("ollama.internal", &[&["127.0.0.1"]])]);
    let policy = Policy::default()
        .allow(allowed(&format!("http://ollama.internal:{port}")))
        .allow(allowed(&format!("http://127.0.0.1:{port}")));
    let mut options = options(policy);
    options.lookup = names;
    let outbound = client(options);
    for (calls, host) in [
        "ollama.internal",
        "OLLAMA.internal.",
        "127.0.0.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = outbound.send(get(&format!("http://{host}:{port}/"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(answer.bytes().await.expect("a body"), "hello");
        assert_eq!(server.accepted(), calls + 1, "{host}");
    }
}

/// The origin is exact: the same host at another port, or over TLS, is not what was allowed.
#[tokio::test]
async fn an_origin_is_allowed_for_itself_alone() {
    let (server, other) = (Server::ok().await, Server::ok().await);
    let policy = Policy::default().allow(allowed(&format!("http://127.0.0.1:{}", server.port)));
    let outbound = client(options(policy));
    for url in [
        format!("http://127.0.0.1:{}/", other.port),
        format!("https://127.0.0.1:{}/", server.port),
        format!("http://127.0.0.2:{}/", server.port),
        format!("http://localhost:{}/", server.port),
    ] {
        let error = outbound.send(get(&url)).await.expect_err("another origin");
        assert!(matches!(error, CallError::Refused(_)), "{url}: {error:?}");
    }
    assert_eq!((server.accepted(), other.accepted()), (0, 0));
}

#[tokio::test]
async fn redirects_are_answers_and_nobody_follows_them() {
    let inner = Server::ok().await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        for to in [
            format!("http://127.0.0.2:{}/secret", inner.port),
            format!("//localhost:{}/", inner.port),
            "http://169.254.169.254/latest/".to_owned(),
            "/again".to_owned(),
        ] {
            let first = Server::answering(vec![answer(status, &format!("location: {to}\r\n"), "")]).await;
            let policy = Policy::development();
            let answer = client(options(policy))
                .send(get(&first.url()))
                .await
                .expect("an answer");
            assert!(answer.status().is_redirection());
            answer.bytes().await.expect("its body");
            assert_eq!(first.accepted(), 1, "a loop was followed");
        }
    }
    assert_eq!(inner.accepted(), 0);
}

/// Names are compared whole, and a refusal says nothing of what a name stands for.
#[tokio::test]
async fn a_refusal_is_no_oracle_for_inner_names() {
    let names = Names::new(&[
        ("a.example", &[&["10.0.0.1"]]),
        ("b.example", &[&["169.254.169.254"]]),
    ]);
    let mut options = options(Policy::default());
    options.lookup = names;
    let outbound = client(options);
    let mut told = Vec::new();
    for host in ["a.example", "b.example"] {
        let error = outbound
            .send(get(&format!("https://{host}/")))
            .await
            .expect_err("refused");
        told.push(error.to_string());
    }
    assert_eq!(told[0], told[1]);
}

/// A policy that is replaced holds for the next call, also where a connection is still open.
#[tokio::test]
async fn a_new_policy_holds_at_once() {
    let server = Server::start(|_, mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await?;
        // Stays open, so that the connection could be used again.
        tokio::time::sleep(SOON).await;
        Ok(())
    })
    .await;
    let outbound = crate::support::local();
    outbound
        .send(get(&server.url()))
        .await
        .expect("allowed")
        .bytes()
        .await
        .expect("a body");
    outbound.set_policy(Policy::default());
    let error = outbound.send(get(&server.url())).await.expect_err("no longer");
    assert!(matches!(error, CallError::Refused(_)), "{error:?}");
    assert_eq!(server.requests().len(), 1);
    let guard = Arc::new(outbound.guard());
    let refused = guard
        .addresses(outbound::Service::Http, "127.0.0.1", server.port)
        .await;
    assert!(matches!(refused, Err(CallError::Refused(_))));
}
