//! The official client as a witness: it reads what the adapter wrote, from the scripted peer of the tests, and reads
//! connection strings beside the adapter's own reader.
//!
//! The rule: peer and appends are the very files of `tests/it/event_store`, so that what is witnessed here is what the
//! contract runs against there.

#[path = "../../../it/event_store/make.rs"]
mod make;
#[expect(dead_code, reason = "the contract uses more of it than the witness")]
#[expect(
    clippy::result_large_err,
    reason = "the services of tonic answer with its status"
)]
#[path = "../../../it/event_store/kurrentdb/peer/mod.rs"]
mod peer;

use domain::event_store::{EventStore as _, Expected, Filter, Position};
use event_store::kurrentdb::{Address, KurrentEventStore, Settings};
use kurrentdb::{Client, ClientSettings, ReadAllOptions, ReadStreamOptions, StreamPosition};

use make::{append, stream};
use peer::Peer;

async fn open(url: &str) -> std::sync::Arc<KurrentEventStore> {
    let address = Address::parse(url).expect("an address");
    KurrentEventStore::start(address, Settings::default())
        .await
        .expect("the store starts")
}

/// What a read brings.
async fn records(mut stream: kurrentdb::ReadStream) -> Vec<kurrentdb::RecordedEvent> {
    let mut found = Vec::new();
    while let Some(event) = stream.next().await.expect("readable") {
        found.push(event.event.expect("a record"));
    }
    found
}

/// The metadata lies in the properties, the payload as it was, and every event has its receipt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_finds_events_receipts_and_metadata() {
    let peer = Peer::start(3).await;
    let store = open(&peer.url()).await;
    let written = append("a", Expected::NoStream, 2);
    store.append(written.clone()).await.expect("recorded");

    let client = Client::new(peer.url().parse().expect("the official form")).expect("a client");
    let found = client
        .read_stream(stream("a").as_str(), &ReadStreamOptions::default())
        .await
        .expect("readable");
    let found = records(found).await;
    let meta: serde_json::Value = serde_json::from_slice(&found[0].custom_metadata).expect("JSON");
    assert_eq!(meta["actor"], "user:1");
    assert_eq!(meta["request_id"], "r-1");
    assert_eq!(meta["schema_version"], "1");
    assert_eq!(meta["$schema.name"], "test.Counted");
    assert_eq!(found[0].data, written.writes[0].events[0].data.get().as_bytes());
    assert!(found[0].is_json);

    let all = client
        .read_all(&ReadAllOptions::default())
        .await
        .expect("readable");
    let all = records(all).await;
    let kinds: Vec<_> = all.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(kinds, [":receipt", ":receipt", "test.Counted", "test.Counted"]);
    let receipt = format!(":id-{}", written.writes[0].events[1].id);
    let receipt = client
        .read_stream(receipt.as_str(), &ReadStreamOptions::default())
        .await
        .expect("readable");
    let lies: serde_json::Value = serde_json::from_slice(&records(receipt).await[0].data).expect("JSON");
    assert_eq!(
        lies,
        serde_json::json!({ "stream": stream("a").as_str(), "revision": 1 })
    );
}

/// Each way of reading brings to the adapter what it brings to the official client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_reads_what_the_official_client_reads() {
    let peer = Peer::start(3).await;
    peer.set(|mode| mode.leader = 2);
    let store = open(&peer.url()).await;
    store
        .append(append("a", Expected::NoStream, 5))
        .await
        .expect("recorded");
    store
        .append(append("b", Expected::NoStream, 3))
        .await
        .expect("recorded");
    let client = Client::new(peer.url().parse().expect("the official form")).expect("a client");

    for from in [0, 3, 4, 5, 9] {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(from));
        let theirs = client
            .read_stream(stream("a").as_str(), &options)
            .await
            .expect("readable");
        let theirs = records(theirs).await;
        let ours = store.load(&stream("a"), from).await.expect("readable");
        let both: Vec<_> = ours
            .iter()
            .map(|event| (event.id, event.revision, event.position.0))
            .collect();
        let theirs: Vec<_> = theirs
            .iter()
            .map(|event| (event.id, event.revision, event.position.commit))
            .collect();
        assert_eq!(both, theirs, "from {from}");
    }

    let all = client
        .read_all(&ReadAllOptions::default())
        .await
        .expect("readable");
    let mut theirs = records(all).await;
    theirs.retain(|event| !event.event_type.starts_with([':', '$']));
    let ours = store
        .read_all(Position::START, &Filter::all(), 100)
        .await
        .expect("readable")
        .events;
    assert_eq!(ours.len(), 8);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((ours.id, ours.position.0), (theirs.id, theirs.position.commit));
        assert_eq!(ours.kind, theirs.event_type);
        assert_eq!(ours.stream.as_str(), theirs.stream_id());
        assert_eq!(ours.data.get().as_bytes(), theirs.data);
    }
    let last = theirs.last().expect("events").position.commit;
    assert_eq!(store.head().await.expect("readable"), Position(last));
    assert!(
        store
            .load(&stream("nobody"), 0)
            .await
            .expect("readable")
            .is_empty()
    );
}

/// Hosts, ports and encryption are read from a connection string as the official client reads them; what it refuses is
/// refused here.
#[test]
fn connection_strings_mean_what_they_mean_to_the_official_client() {
    for url in [
        "esdb://localhost",
        "esdb://localhost:2114",
        "esdb://user:pass@localhost:2114/",
        "esdb://user:pass@localhost:2114?tls=false",
        "esdb://host1,host2,host3",
        "esdb://host1:1234,host2:4321,host3:3231",
        "esdb://host1,host2,host3?tls=false",
        "esdb://host1,host2,host3?tls=false&tlsVerifyCert=false",
        "esdb://foo:bar@eventstore_db:2115",
        "esdb://host?MaxDiscoverAttempts=200&discoveryinterval=1000&GOSSIPTIMEOUT=1&nOdEpReFeReNcE=leader&TLS=false",
        "esdb://localhost?keepAliveInterval=20000&keepAliveTimeout=30000",
        "esdb://localhost?keepAliveInterval=-1&keepAliveTimeout=-1",
        "esdb://localhost?defaultDeadline=100000&connectionName=foobar",
        "esdb://localhost?userCertFile=foo&userKeyFile=bar&tlsCaFile=baz",
        "esdb+discover://user:pass@host?nodePreference=leader",
        "kurrentdb://localhost",
        "kurrentdb+discover://user:pass@host:1",
        "esdb://localhost?keepAliveInterval=20000&keepAliveTimeout=-33",
        "esdb://localhost?keepAliveInterval=kjslkjfds",
        "esdb://localhost?userCertFile=foo",
        "esdb://localhost/path",
        "esdb://localhost:port",
        "esdb://localhost?tls=perhaps",
    ] {
        let (ours, theirs) = (Address::parse(url), url.parse::<ClientSettings>());
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{url}: {ours:?} {theirs:?}");
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else {
            continue;
        };
        let nodes: Vec<_> = theirs
            .hosts()
            .iter()
            .map(|host| format!("Node {{ host: {:?}, port: {} }}", host.host, host.port))
            .collect();
        let expected = format!(
            "Address {{ nodes: [{}], secure: {}, .. }}",
            nodes.join(", "),
            theirs.is_secure_mode_enabled()
        );
        assert_eq!(format!("{ours:?}"), expected, "{url}");
        let signed_in = theirs.default_authenticated_user().is_some();
        assert_eq!(url.contains('@'), signed_in, "{url}");
    }
}
