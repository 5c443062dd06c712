//! The live view of a job: a snapshot, then everything that happens, resumable from a position (GQ-4).
//!
//! Access is decided again at every item. A slow reader never makes the server hold more than one item:
//! the feed reads on when the reader is ready, and the log keeps the rest.

mod items;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_graphql::{Context, Error, ID, Result, Subscription};
use domain::{
    aggregate::{Aggregate, decode},
    authz::{Action, Principal, Requirement, permit},
    event_store::{Filter, Position, RecordedEvent},
    id::{JobId, UserId},
    jobs::{
        job::{Job as JobAggregate, JobEvent},
        progress::Progress,
    },
};
use futures::Stream;
pub(crate) use items::describe;
use items::{end_of, progress_item};
use projections::{feed::Follower, history::Moment, paging::Viewer};

pub use items::*;

use super::{
    context::{app, caller, coded, denied, unreadable, user, viewer},
    ids::id_or_not_found,
    jobs::{Job, JobState},
    scalars::Long,
};
use crate::{
    app::{App, Caller, PATIENCE},
    http::door::ResumeFrom,
};

/// Time between two signs of life on a quiet feed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where the door reads the position of the item that was answered last.
#[derive(Clone, Default)]
pub struct LastPosition(pub Arc<AtomicU64>);

struct Feed {
    app: App,
    caller: Caller,
    job: JobId,
    owner: UserId,
    include: Vec<JobFeedKind>,
    last: LastPosition,
    position: Position,
    follower: Follower,
    pending: std::collections::VecDeque<JobFeedItem>,
    /// What was known of the job when the feed began: ends before that were not the last, if it goes on.
    known: (Position, bool),
    ended: bool,
}

/// Live views.
#[derive(Default)]
pub struct JobFeedSubscription;

#[Subscription]
impl JobFeedSubscription {
    /// Follows a job: a snapshot, then what happens, with a heart-beat every 15 seconds, until the job ends.
    /// With `after`, goes on from that position without a snapshot; nothing is missed.
    async fn job_feed(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] job_id: ID,
        #[graphql(desc = "Go on after this position. Over server-sent events, Last-Event-ID does the same.")]
        after: Option<Long>,
        #[graphql(desc = "What to carry; everything if not given.")] include: Option<Vec<JobFeedKind>>,
    ) -> Result<impl Stream<Item = Result<JobFeedItem>> + use<>> {
        user(context)?;
        let app = app(context)?.clone();
        let job = id_or_not_found::<JobId>(&job_id)?;
        let resumed = context
            .data_opt::<ResumeFrom>()
            .and_then(|from| from.0.parse::<u64>().ok())
            .map(Long);
        let after = resumed.or(after).map(|after| Position(after.0));
        let include =
            include.unwrap_or_else(|| vec![JobFeedKind::State, JobFeedKind::Metrics, JobFeedKind::Log]);
        let last = context.data_opt::<LastPosition>().cloned().unwrap_or_default();
        let feed = Feed::open(
            app,
            caller(context)?.clone(),
            viewer(context)?,
            job,
            after,
            include,
            last,
        )
        .await?;
        Ok(futures::stream::unfold(feed, |mut feed| async move {
            let item = feed.next().await?;
            if let Ok(item) = &item {
                feed.last.0.store(item.position(), Ordering::Relaxed);
            }
            Some((item, feed))
        }))
    }
}

impl Feed {
    async fn open(
        app: App,
        caller: Caller,
        viewer: Viewer,
        job: JobId,
        after: Option<Position>,
        include: Vec<JobFeedKind>,
        last: LastPosition,
    ) -> Result<Self> {
        // The row has to exist before a stranger can be told from a latecomer.
        let head = app.ports.store.known_head();
        app.progress
            .reach(head, PATIENCE)
            .await
            .map_err(|error| coded("UNAVAILABLE", error.to_string()))?;
        let row = projections::jobs::job::find(&app.pool, Moment::Now, viewer, job)
            .await
            .map_err(|e| unreadable(&e))?;
        let row = row.ok_or_else(|| coded("NOT_FOUND", "not found"))?;
        let shown = Position(u64::try_from(row.position).unwrap_or_default());
        let mut pending = std::collections::VecDeque::new();
        let position = match after {
            Some(after) if after <= head => after,
            Some(_) => {
                let reason = "this position lies beyond the head of the log".to_owned();
                pending.push_back(JobFeedItem::Gap(FeedGap {
                    position: shown.into(),
                    reason,
                }));
                pending.push_back(JobFeedItem::Snapshot(JobSnapshot {
                    position: shown.into(),
                    job: Job::now(row.clone()),
                }));
                shown
            }
            None => {
                pending.push_back(JobFeedItem::Snapshot(JobSnapshot {
                    position: shown.into(),
                    job: Job::now(row.clone()),
                }));
                shown
            }
        };
        let mut ended = false;
        if row.state.is_final() && position >= shown {
            pending.push_back(end_of(position, row.state.into()));
            ended = true;
        }
        let filter = Filter {
            stream_prefixes: vec![
                JobAggregate::stream(job).to_string(),
                Progress::stream(job).to_string(),
            ],
            kind_prefixes: Vec::new(),
        };
        let follower = app.feed.follow(position, filter);
        Ok(Self {
            app,
            caller,
            job,
            owner: row.owner_id,
            include,
            last,
            position,
            follower,
            pending,
            known: (shown, row.state.is_final()),
            ended,
        })
    }

    /// The next item; `None` when the feed is over.
    async fn next(&mut self) -> Option<Result<JobFeedItem>> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            let event = match tokio::time::timeout(HEARTBEAT, self.follower.next()).await {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => {
                    tracing::warn!(%error, job = %self.job, "a job feed ended");
                    self.ended = true;
                    return Some(Err(coded(
                        "UNAVAILABLE",
                        "the log cannot be read at present; resume later",
                    )));
                }
                Err(_) => {
                    let position = self.app.feed.head().into();
                    self.pending
                        .push_back(JobFeedItem::Heartbeat(FeedHeartbeat { position }));
                    if let Err(error) = self.check_access() {
                        return Some(self.end_with(error));
                    }
                    continue;
                }
            };
            if let Err(error) = self.check_access() {
                return Some(self.end_with(error));
            }
            self.position = event.position;
            if let Err(error) = self.translate(&event) {
                return Some(self.end_with(error));
            }
        }
    }

    fn end_with(&mut self, error: Error) -> Result<JobFeedItem> {
        self.ended = true;
        self.pending.clear();
        Err(error)
    }

    /// Whether the caller may still see the job, by the rights that hold now.
    fn check_access(&self) -> Result<()> {
        let gone = || coded("FORBIDDEN", "the session has ended or access was withdrawn");
        let session = self.caller.session().ok_or_else(gone)?;
        let user = self
            .app
            .directory
            .session(session, self.app.now())
            .ok_or_else(gone)?;
        let resource = domain::authz::Resource::of(self.job, Some(self.owner));
        let principal = Principal::User(Box::new(user));
        permit(&principal, &Requirement::one(Action::TrainingRead, resource))
            .map_err(|refusal| denied(&refusal))
    }

    fn translate(&mut self, event: &RecordedEvent) -> Result<()> {
        if event.stream.category() == Progress::CATEGORY {
            self.pending
                .extend(progress_item(event, decode(event)?, &self.include));
            return Ok(());
        }
        let decoded = decode::<JobEvent>(event)?;
        let (state, attempt, message) = describe(&decoded);
        if self.include.contains(&JobFeedKind::State) {
            self.pending.push_back(JobFeedItem::Delta(JobDelta {
                position: event.position.into(),
                at: event.at,
                event: event.kind.clone(),
                state,
                attempt,
                message,
            }));
        }
        // A job that was restarted since went on after this end.
        let (shown, over) = self.known;
        let last = event.position > shown || (over && event.position == shown);
        if let Some(state @ (JobState::Completed | JobState::Failed | JobState::Cancelled)) = state
            && last
        {
            self.pending.push_back(end_of(event.position, state));
            self.ended = true;
        }
        Ok(())
    }
}
