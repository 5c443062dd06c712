//! Notices that the read models stand still, whoever leads and whyever: a lock that is held, a full disk, a frozen process.
//!
//! One rule: when there is more to fold and nothing moves for a while, nothing is shown until it does, for nobody knows what
//! has been taken back meanwhile. It needs no answer of the database to notice.

use std::{sync::Arc, time::Duration};

use domain::{
    clock::{Clock as _, SystemClock},
    event_store::EventStore,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;

/// Looks each in a fifth of `limit`, and says in `progress` when the read models have not moved for `limit` although
/// this process knows of later events. Ends with `stop`.
pub(super) async fn watch(
    mut progress: Progress,
    store: Arc<dyn EventStore>,
    limit: Duration,
    stop: CancellationToken,
) {
    let mut reached = progress.position();
    let mut moved = Instant::now();
    loop {
        let still = progress.still_since().is_some();
        tokio::select! {
            () = stop.cancelled() => return,
            () = progress.moved(), if still => {}
            () = tokio::time::sleep(limit / 5) => {}
        }
        if still || moved.elapsed() >= limit {
            // This process may be the one that stands still, while another leads.
            drop(timeout(limit / 5, progress.ask_the_table()).await);
        }
        let now = progress.position();
        if now != reached || now >= store.known_head() || !progress.some_follow() {
            (reached, moved) = (now, Instant::now());
            if still {
                tracing::info!(position = reached.0, "the read models move again");
                progress.publish_standstill(None);
            }
        } else if !still && moved.elapsed() >= limit {
            let since = SystemClock.now() - moved.elapsed();
            tracing::error!(
                position = reached.0,
                head = store.known_head().0,
                "the read models stand still; nothing of them is shown until they move"
            );
            progress.publish_standstill(Some(since));
        }
    }
}
