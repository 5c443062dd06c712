//! FX1: one TLS provider, installed at the start, and every outbound client over TLS against a real peer. The client of
//! KurrentDB has its tests in `event_store/kurrentdb/secure.rs`.
//!
//! The rule: a peer is trusted by its authority's file alone, and one of another authority is refused.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anneal::postgres::{Cluster, Options};
use event_store::postgres::app_pool;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tests::harness::{app::program, tls::Authority};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const SOON: Duration = Duration::from_secs(60);

/// What panicked with two providers and none installed.
#[test]
fn a_client_without_a_named_provider_can_be_made() {
    anneal::tls::install();
    anneal::tls::install();
    let made = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    assert!(!made.crypto_provider().cipher_suites.is_empty());
    assert!(rustls::crypto::CryptoProvider::get_default().is_some());
}

/// An address of this machine that no other process listens at: PostgreSQL's port stays the usual one.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 64, middle, low.max(1))
}

/// Puts certificate and key where the server in `data` may read them.
fn place(data: &Path, authority: &Authority) {
    let cluster = data.join("postgres/cluster");
    let owner = fs::metadata(&cluster).expect("a cluster");
    for (name, text) in [
        ("server.crt", &authority.certificate),
        ("server.key", &authority.key),
    ] {
        let path = cluster.join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("the server's");
    }
}

/// Lets TLS in, and nothing else but the private socket.
async fn let_tls_in(data: &Path, local: &str) {
    let access = data.join("postgres/cluster/pg_hba.conf");
    let mut text = fs::read_to_string(&access).expect("there");
    text.push_str("hostssl all all 127.0.0.0/8 trust\n");
    fs::write(&access, text).expect("written");
    let pool = app_pool(local, 1).await.expect("a pool");
    let read: bool = sqlx::query_scalar("select pg_reload_conf()")
        .fetch_one(&pool)
        .await
        .expect("an answer");
    assert!(read);
    pool.close().await;
}

/// PostgreSQL with OpenSSL, made for this test, reached by sqlx as the application does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_reached_over_tls() {
    anneal::tls::install();
    let address = own_address();
    let authority = Authority::of(&[&address.to_string()]);
    let room = tempfile::tempdir().expect("a folder");
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).expect("open");
    let data = room.path().join("data");
    let starting = |options: Options| {
        let data = data.clone();
        tokio::task::spawn_blocking(move || Cluster::start(&data, &options))
    };
    let plain = starting(Options::default())
        .await
        .expect("no panic")
        .expect("a cluster");
    plain.stop().expect("stopped");
    drop(plain);
    place(&data, &authority);
    let settings = [
        ("listen_addresses", address.to_string()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", "server.crt".to_owned()),
        ("ssl_key_file", "server.key".to_owned()),
    ];
    let options = Options {
        settings: settings.to_vec(),
        ..Options::default()
    };
    let cluster = starting(options)
        .await
        .expect("no panic")
        .expect("a cluster with TLS");
    let local = cluster.url("postgres");
    let_tls_in(&data, &local).await;
    let (_, user) = local.split_once("user=").expect("the owner's name");
    let url = |authority: &Authority, mode: &str| {
        let file = authority.file();
        format!(
            "postgres://{user}@{address}:5432/postgres?sslmode={mode}&sslrootcert={}",
            file.display()
        )
    };

    let pool = app_pool(&url(&authority, "verify-full"), 2)
        .await
        .expect("a pool");
    let row: (bool, String) =
        sqlx::query_as("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()")
            .fetch_one(&pool)
            .await
            .expect("an answer over TLS");
    assert!(row.0 && row.1.starts_with("TLSv1."), "{row:?}");
    pool.close().await;

    let stranger = Authority::of(&[&address.to_string()]);
    let asked = async {
        let pool = app_pool(&url(&stranger, "verify-full"), 1)
            .await
            .map_err(|error| format!("{error:#?}"))?;
        let answer = sqlx::query("select 1").execute(&pool).await;
        answer.map_err(|error| error.to_string())
    };
    let refused = tokio::time::timeout(SOON, asked).await.expect("in time");
    let error = refused.expect_err("another authority");
    assert!(error.contains("ertificate"), "{error}");
    tokio::task::spawn_blocking(move || cluster.stop())
        .await
        .expect("no panic")
        .expect("stopped");
}

/// Serves TLS and hands on the first line of each request, which it answers with 503.
async fn web_server(authority: &Authority) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let certificate =
        CertificateDer::from_pem_slice(authority.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(authority.key.as_bytes()).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not trust us ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut text = vec![0; 4096];
            let read = stream.read(&mut text).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&text[..read]).into_owned();
            let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let answered = stream.write_all(answer.as_bytes()).await;
            let line = text.lines().next().unwrap_or_default().to_owned();
            if answered.is_err() || sender.send(line).await.is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

/// Starts the real binary's HTTP client against the server at `port`, with the system's authorities replaced.
fn demo(port: u16, authority: &Authority, room: &Path) -> tokio::process::Child {
    tokio::process::Command::new(program())
        .args(["demo", "--url", &format!("https://127.0.0.1:{port}"), "--data"])
        .arg(room)
        .env("SSL_CERT_FILE", authority.file())
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary is built")
}

/// The binary's own HTTP client (reqwest), which takes the authorities of the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_http_client_of_the_binary_reaches_a_server_over_tls() {
    anneal::tls::install();
    let authority = Authority::of(&["127.0.0.1"]);
    let room = tempfile::tempdir().expect("a folder");
    let (port, mut asked) = web_server(&authority).await;
    let trusting = demo(port, &authority, room.path());
    let line = tokio::time::timeout(SOON, asked.recv()).await;
    let line = line.expect("a request comes over TLS").expect("served");
    assert!(line.ends_with(" HTTP/1.1"), "{line}");
    drop(trusting);

    let (port, mut asked) = web_server(&authority).await;
    let stranger = Authority::of(&["127.0.0.1"]);
    let ending = demo(port, &stranger, room.path()).wait_with_output();
    let ended = tokio::time::timeout(SOON, ending)
        .await
        .expect("it gives up")
        .expect("ended");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{said}");
    assert!(asked.try_recv().is_err(), "no request to a stranger");
}
