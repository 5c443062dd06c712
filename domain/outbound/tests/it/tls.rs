//! TLS: by name and by address, with authorities of the operator, and with those of nobody.
//!
//! One rule: a connection to a judged address is still a connection to the name that was asked for.

use std::sync::Arc;

use outbound::{CallError, OutboundOptions, Policy};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Names, allowed, answer, client, get, options, quickly};

/// An authority, and what a server that it vouches for accepts with; it speaks these protocols, in this order.
pub fn acceptor(names: &[&str], protocols: &[&[u8]]) -> (TlsAcceptor, CertificateDer<'static>) {
    let authority_key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(parameters, authority_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(names).expect("names");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they belong together");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), authority.der().clone())
}

async fn server(names: &[&str], protocols: &[&[u8]]) -> (u16, CertificateDer<'static>) {
    let (acceptor, authority) = acceptor(names, protocols);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(serve(listener, acceptor));
    (port, authority)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        // Who does not trust it ends the handshake.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut request = [0; 4096];
        if stream.read(&mut request).await.is_ok() {
            let _gone = stream
                .write_all(answer("200 OK", "", "over TLS").as_bytes())
                .await;
            let _gone = stream.shutdown().await;
        }
    }
}

/// Options that allow `peer.test` and two others at `port`, all of them this machine.
pub fn named(port: u16, authorities: Vec<CertificateDer<'static>>) -> OutboundOptions {
    let names: &[(&str, &[&[&str]])] = &[
        ("peer.test", &[&["127.0.0.1"]]),
        ("other.test", &[&["127.0.0.1"]]),
    ];
    let policy = Policy::default()
        .allow(allowed(&format!("https://peer.test:{port}")))
        .allow(allowed(&format!("https://other.test:{port}")))
        .allow(allowed(&format!("https://127.0.0.1:{port}")));
    OutboundOptions {
        lookup: Names::new(names),
        authorities,
        ..options(policy)
    }
}

#[tokio::test]
async fn a_pinned_connection_is_verified_by_name() {
    let (port, authority) = server(&["peer.test", "127.0.0.1"], &[b"http/1.1"]).await;
    let outbound = client(named(port, vec![authority]));
    // With the dot of a complete name too: certificates have none.
    for host in ["peer.test", "peer.test.", "127.0.0.1"] {
        let answer = outbound.send(get(&format!("https://{host}:{port}/"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(answer.bytes().await.expect("a body"), "over TLS");
    }
    let other = get(&format!("https://other.test:{port}/")).retry(quickly(3));
    assert_eq!(outbound.send(other).await.err(), Some(CallError::Tls));
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let (port, _) = server(&["peer.test"], &[b"http/1.1"]).await;
    let (_, another) = server(&["peer.test"], &[]).await;
    let outbound = client(named(port, vec![another]));
    let error = outbound
        .send(get(&format!("https://peer.test:{port}/")))
        .await
        .err();
    assert_eq!(error, Some(CallError::Tls));
}

#[tokio::test]
async fn an_authority_that_is_none_is_told_at_once() {
    let options = OutboundOptions {
        authorities: vec![CertificateDer::from(vec![1, 2, 3])],
        ..OutboundOptions::default()
    };
    let error = outbound::Outbound::new(options).expect_err("no certificate");
    assert!(error.to_string().contains("certificate"), "{error}");
}
