//! What leaves the process over the network.
//!
//! One rule: product code connects by `outbound` and by nothing else, so that no address is called which nobody judged
//! (PK-8, D4); what connects otherwise is named here with its reason.

use std::collections::BTreeSet;

use super::{code, dependencies, metadata, names, sizes::product_of, sources, within};

/// Where it is done, and judged.
const OUTBOUND: &str = "domain/outbound/src/";

/// What connects, looks up names, or makes a client that does. `TcpStream` alone may be named: servers accept them.
const CONNECTS: [&str; 13] = [
    "reqwest",
    "hyper_rustls",
    "client::legacy",
    "tokio_tungstenite",
    "tonic::transport",
    "tokio_rustls",
    "TcpStream::connect",
    "TcpStream::connect_timeout",
    "TcpSocket",
    "UdpSocket",
    "lookup_host",
    "to_socket_addrs",
    "ToSocketAddrs",
];

/// Who may, and why. PostgreSQL is reached by sqlx, which takes no address but the operator's.
const MAY: [(&str, &str); 3] = [
    (
        "ops/src/demo/",
        "a client of our own server, at the address that its user types",
    ),
    (
        "ops/src/doctor/network.rs",
        "asks this installation's own server whether it is there",
    ),
    (
        "domain/event-store/src/kurrentdb/",
        "the log itself, at the operator's address; without it there is no policy to read",
    ),
];

/// Libraries with clients of their own, and the crates that may be built from each.
const LIBRARIES: [(&str, &[&str]); 11] = [
    ("hyper-rustls", &["outbound"]),
    ("hyper-util", &["api", "outbound"]),
    ("isahc", &[]),
    ("lettre", &[]),
    // Without a client of its own; a test holds it to that.
    ("object_store", &["objects"]),
    ("reqwest", &["anneal"]),
    ("tokio-rustls", &[]),
    ("tokio-tungstenite", &[]),
    ("tonic", &["event-store"]),
    ("ureq", &[]),
    ("curl", &[]),
];

/// No product: tests, measurements, and what maintainers run on their own checkout.
const NO_PRODUCT: [&str; 3] = ["tests/", "ops/xtask/", "ops/tests/"];
const NO_PRODUCT_CRATES: [&str; 2] = ["tests", "xtask"];

fn connecting(text: &str) -> Option<&'static str> {
    let code = code(&product_of(text));
    CONNECTS.into_iter().find(|name| names(&code, name))
}

#[test]
fn what_connects_is_found_in_code_and_not_in_comments() {
    for found in [
        "let client = reqwest::Client::builder();",
        "use reqwest::{Client, Method};",
        "TcpStream::connect(address).await?;",
        "std::net::TcpStream::connect(address)?;",
        "use hyper_util::{client::legacy::Client, rt::TokioIo};",
    ] {
        assert!(connecting(found).is_some(), "{found}");
    }
    for other in [
        "// as reqwest does",
        "let (stream, _): (TcpStream, _) = listener.accept().await?;",
        "use hyper_util::rt::TokioIo;",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n    use reqwest::Client;\n}",
    ] {
        assert_eq!(connecting(other), None, "{other}");
    }
}

#[test]
fn product_code_connects_by_outbound_only() {
    let (mut found, mut searched) = (BTreeSet::new(), 0);
    let places = MAY.map(|(place, _)| place);
    for source in sources() {
        let is_test = source
            .path
            .split('/')
            .any(|part| ["tests", "test", "benches"].contains(&part.trim_end_matches(".rs")));
        if is_test || within(&source.path, &NO_PRODUCT) || source.path.starts_with(OUTBOUND) {
            continue;
        }
        searched += 1;
        let Some(name) = connecting(&source.text) else {
            continue;
        };
        let place = places.into_iter().find(|place| within(&source.path, &[place]));
        let place = place.unwrap_or_else(|| panic!("{} names {name}: call by outbound", source.path));
        found.insert(place);
    }
    assert!(searched > 300, "only {searched} files were searched");
    assert_eq!(found, BTreeSet::from(places), "the list names what is there");
}

/// Under whatever name: who is not built from a client cannot call it.
#[test]
fn libraries_that_connect_are_built_into_those_crates_only() {
    let metadata = metadata();
    let mut found = BTreeSet::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        if NO_PRODUCT_CRATES.contains(&name) {
            continue;
        }
        for (library, may) in LIBRARIES {
            if dependencies(package).contains(library) {
                assert!(
                    may.contains(&name),
                    "{name} is built from {library}: call by outbound"
                );
                found.insert((library, name.to_owned()));
            }
        }
    }
    let listed = LIBRARIES.iter().map(|(_, may)| may.len()).sum::<usize>();
    assert_eq!(found.len(), listed, "the list names what is there: {found:?}");
}
