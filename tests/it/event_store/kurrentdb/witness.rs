//! The official client reads what the adapter wrote: the peer, and the mapping, in the eyes of a third party.

use domain::event_store::{EventStore as _, Expected};
use kurrentdb::{Client, ReadAllOptions, ReadStreamOptions};

use super::{
    super::make::{append, stream},
    open,
    peer::Peer,
    settings,
};

async fn ids(mut stream: kurrentdb::ReadStream) -> Vec<(uuid::Uuid, String)> {
    let mut found = Vec::new();
    while let Some(event) = stream.next().await.expect("readable") {
        let event = event.get_original_event();
        found.push((event.id, event.event_type.clone()));
    }
    found
}

/// The metadata lies in the properties, the payload as it was, and every event has its receipt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_finds_events_receipts_and_metadata() {
    let peer = Peer::start(3).await;
    let store = open(&peer.url(), settings()).await;
    let written = append("a", Expected::NoStream, 2);
    store.append(written.clone()).await.expect("recorded");

    let client = Client::new(peer.url().parse().expect("the official form")).expect("a client");
    let mut found = client
        .read_stream(stream("a").as_str(), &ReadStreamOptions::default())
        .await
        .expect("readable");
    let first = found.next().await.expect("readable").expect("an event");
    let first = first.get_original_event();
    let meta: serde_json::Value = serde_json::from_slice(&first.custom_metadata).expect("JSON");
    assert_eq!(meta["actor"], "user:1");
    assert_eq!(meta["request_id"], "r-1");
    assert_eq!(meta["schema_version"], "1");
    assert_eq!(meta["$schema.name"], "test.Counted");
    assert_eq!(first.data, written.writes[0].events[0].data.get().as_bytes());
    assert!(first.is_json);

    let all = ids(client
        .read_all(&ReadAllOptions::default())
        .await
        .expect("readable"))
    .await;
    let kinds: Vec<_> = all.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, [":receipt", ":receipt", "test.Counted", "test.Counted"]);
    let receipt = format!(":id-{}", written.writes[0].events[1].id);
    let receipt = client
        .read_stream(receipt.as_str(), &ReadStreamOptions::default())
        .await;
    let mut receipt = receipt.expect("readable");
    let receipt = receipt.next().await.expect("readable").expect("a receipt");
    let lies: serde_json::Value = serde_json::from_slice(&receipt.get_original_event().data).expect("JSON");
    assert_eq!(
        lies,
        serde_json::json!({ "stream": stream("a").as_str(), "revision": 1 })
    );
}
