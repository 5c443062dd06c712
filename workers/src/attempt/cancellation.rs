//! Follows what others decide about a job while it is worked on.
//!
//! One rule: it only says that the attempt is over for this worker, or shall be; what follows from that is
//! decided once, in [`super`].

use std::time::Duration;

use domain::{
    aggregate::{Aggregate, decode},
    event_store::{Filter, Position},
    id::JobId,
    jobs::job::{Job, JobEvent},
};
use projections::feed::FeedHub;

use super::stop_request::{StopReason, StopRequest};

/// Wait after a failure to read.
const RETRY: Duration = Duration::from_millis(200);

/// Waits until `attempt` of `job`, as it stood at `since`, is cancelled or taken away. Asks to `stop_request` when it
/// shall be paused.
pub(super) async fn taken_away(
    feed: &FeedHub,
    job: JobId,
    attempt: u32,
    since: Position,
    stop_request: &StopRequest,
) {
    let stream = Job::stream(job).as_str().to_owned();
    let filter = Filter {
        stream_prefixes: vec![stream],
        kind_prefixes: Vec::new(),
    };
    let mut events = feed.follow(since, filter);
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%job, %error, "decisions about the job cannot be followed, trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        match decode::<JobEvent>(&event) {
            Ok(event) if ends(&event, attempt) => {
                tracing::info!(%job, attempt, "the attempt is over: {event:?}");
                return;
            }
            Ok(JobEvent::PauseRequested { attempt: asked, .. }) if asked == attempt => {
                stop_request.ask(StopReason::Pause);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%job, %error, "a decision about the job cannot be read"),
        }
    }
}

/// Whether `event` ends `attempt` from outside. Completion and failure of the attempt itself come from its
/// own worker.
fn ends(event: &JobEvent, attempt: u32) -> bool {
    match event {
        JobEvent::Cancelled { .. } | JobEvent::Restarted { .. } => true,
        JobEvent::Interrupted { attempt: ended, .. } | JobEvent::Paused { attempt: ended, .. } => {
            *ended >= attempt
        }
        JobEvent::Leased { attempt: newer, .. }
        | JobEvent::Completed { attempt: newer, .. }
        | JobEvent::Failed { attempt: newer, .. } => *newer > attempt,
        JobEvent::Queued(_)
        | JobEvent::Started { .. }
        | JobEvent::CheckpointSaved { .. }
        | JobEvent::CheckpointStored { .. }
        | JobEvent::CheckpointsReleased { .. }
        | JobEvent::FilesStored { .. }
        | JobEvent::PauseRequested { .. }
        | JobEvent::Resumed { .. }
        | JobEvent::PriorityChanged { .. }
        | JobEvent::Metered { .. } => false,
    }
}
