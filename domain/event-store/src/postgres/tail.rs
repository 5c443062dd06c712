//! How a process learns that the log has grown.
//!
//! The rule: the known head only ascends. This process's own appends move it at once; those of others come
//! by LISTEN, and where a notification is lost, by a look each second.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;

use super::{CHANNEL, failure::describe, reader::Reader};

const LOOK_EACH: Duration = Duration::from_secs(1);

/// The last position that this process knows of.
#[derive(Clone)]
pub(super) struct KnownHead(Arc<watch::Sender<u64>>);

impl KnownHead {
    pub(super) fn new(position: u64) -> Self {
        Self(Arc::new(watch::Sender::new(position)))
    }

    /// Moves the head on; what lies behind is ignored.
    pub(super) fn advance(&self, position: u64) {
        self.0.send_if_modified(|known| {
            let further = position > *known;
            *known = position.max(*known);
            further
        });
    }

    pub(super) fn get(&self) -> u64 {
        *self.0.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Moves `head` with the appends of all processes, until it is aborted.
pub(super) async fn follow(head: KnownHead, reader: Reader, listeners: PgPool) {
    tokio::join!(look(&head, &reader), listen(&head, &listeners));
}

async fn look(head: &KnownHead, reader: &Reader) {
    let mut reachable = true;
    loop {
        tokio::time::sleep(LOOK_EACH).await;
        match reader.head().await {
            Ok(position) => {
                head.advance(position.0);
                reachable = true;
            }
            // Said once per outage.
            Err(error) if reachable => {
                tracing::warn!(%error, "the head of the event log cannot be read");
                reachable = false;
            }
            Err(_) => {}
        }
    }
}

async fn listen(head: &KnownHead, listeners: &PgPool) {
    loop {
        if let Err(error) = hear(head, listeners).await {
            tracing::warn!(
                error = describe(&error),
                "no notifications from the event log, looking each second"
            );
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
}

async fn hear(head: &KnownHead, listeners: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(listeners).await?;
    listener.listen(CHANNEL).await?;
    while let Some(notification) = listener.try_recv().await? {
        if let Ok(position) = notification.payload().parse() {
            head.advance(position);
        }
    }
    Ok(())
}
