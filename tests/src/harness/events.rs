//! Records events that no command of this build produces: of the past, or of another build.

use std::{sync::Arc, time::Duration};

use domain::{
    aggregate::{Aggregate, encode},
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Filter, Metadata, Position, StreamWrite},
    id::{Ids, SystemIds},
};
use event_store::postgres::{PostgresEventStore, Settings};

/// The sum of the counts in the events of a kind, in the log at `url`.
///
/// # Panics
/// When it cannot be read.
pub async fn counted(url: &str, kind: &str) -> u64 {
    let options = event_store::postgres::address(url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
        .await
        .expect("it starts");
    let filter = Filter {
        stream_prefixes: Vec::new(),
        kind_prefixes: vec![kind.to_owned()],
    };
    let (head, mut after, mut sum) = (store.head().await.expect("a head"), Position::START, 0);
    while after < head {
        let page = store.read_all(after, &filter, 1_000).await.expect("a page");
        for event in &page.events {
            let data: serde_json::Value = serde_json::from_str(event.data.get()).expect("JSON");
            sum += data["count"].as_u64().expect("a count");
        }
        after = page.next;
    }
    store.close(Duration::from_secs(5)).await;
    sum
}

/// Records `event` in the log at `url`, beside whatever else writes there.
///
/// # Panics
/// When it cannot be recorded.
pub async fn record<A: Aggregate>(url: &str, key: impl std::fmt::Display, event: &A::Event) {
    let options = event_store::postgres::address(url).expect("a URL");
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
        .await
        .expect("it starts");
    let append = Append {
        writes: vec![StreamWrite {
            stream: A::stream(key),
            expected: Expected::Any,
            events: vec![encode(SystemIds.next(), event).expect("an event")],
        }],
        meta: Metadata {
            actor: "system:test".to_owned(),
            ..Metadata::default()
        },
    };
    store.append(append).await.expect("recorded");
    store.close(Duration::from_secs(5)).await;
}
