//! Records events that no command of this build produces: of the past, or of another build.

use std::{sync::Arc, time::Duration};

use domain::{
    aggregate::{Aggregate, encode},
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Metadata, StreamWrite},
    id::{Ids, SystemIds},
};
use event_store::postgres::{PostgresEventStore, Settings};

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
