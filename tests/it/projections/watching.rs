//! Who is woken when the directory of access has folded something.

use std::{sync::Arc, time::Duration};

use domain::{
    clock::SystemClock,
    event_store::{Append, EventStore as _, Expected, Metadata, StreamId, StreamWrite},
};
use event_store::memory::MemoryEventStore;
use projections::access::directory::Directory;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fixture::event;

/// FL11: what is recorded all the time is no matter of those who watch whether a session has ended, one for each open
/// socket.
#[tokio::test]
async fn what_is_no_matter_of_access_wakes_no_watcher_of_sessions() {
    let log = MemoryEventStore::new(Arc::new(SystemClock));
    let directory = Directory::start(log.clone(), CancellationToken::new()).await;
    let directory = directory.expect("it starts");
    let changes = directory.changes();
    let record = async |stream: &str, kind, data| {
        let write = StreamWrite {
            stream: StreamId::from_recorded(stream.to_owned()),
            expected: Expected::Any,
            events: vec![event(kind, &data)],
        };
        let (writes, meta) = (vec![write], Metadata::default());
        let appended = log.append(Append { writes, meta }).await.expect("recorded");
        let patience = Duration::from_secs(10);
        let folded = directory.wait_for_position(appended.position, patience).await;
        folded.expect("it follows");
    };
    record("projects.project-theirs", "jobs.JobQueued", json!({})).await;
    assert!(!changes.has_changed().expect("open"));
    let user = Uuid::from_u128(7);
    record(
        "access.administrators-all",
        "access.AdministratorJoined",
        json!({ "user": user }),
    )
    .await;
    assert!(changes.has_changed().expect("open"));
}
