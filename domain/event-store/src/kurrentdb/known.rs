//! The last position that this process knows of.
//!
//! The rule: it only grows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::reading::Reading;

/// How long the watcher waits between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Shared by all parts of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownHead(Arc<AtomicU64>);

impl KnownHead {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, position: u64) {
        self.0.fetch_max(position, Ordering::AcqRel);
    }
}

/// Looks where other processes have brought the head, for ever.
pub(super) async fn watch(head: KnownHead, reading: Arc<Reading>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match reading.head().await {
            Ok(position) => head.advance(position.0),
            Err(failure) => {
                tracing::warn!(error = %failure.into_store(), "the head of the event log is not known");
            }
        }
    }
}
