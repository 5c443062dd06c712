//! The live view of a job: a snapshot, then everything that happens, resumable from a position (GQ-4).
//!
//! One rule: the position of an item is the last one that this feed has delivered or passed over, so that going on from
//! any of them misses nothing. The head of the log runs ahead of that and is no such position.
//!
//! Access is decided again at every item. A slow reader never makes the server hold more than one item:
//! the feed reads on when the reader is ready, and the log keeps the rest.

mod changes;
mod items;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_graphql::{Context, Error, ID, Result, Subscription};
pub(crate) use changes::describe;
use domain::{
    aggregate::{Aggregate, decode},
    authz::{Action, Principal, Requirement, Resource, permit},
    event_store::{Filter, Position, RecordedEvent, StoreError},
    id::{JobId, UserId},
    jobs::{
        job::{Job as JobAggregate, JobEvent},
        progress::Progress,
    },
};
use futures::{Stream, StreamExt as _};
use items::{end_of, gap, progress_item};
use projections::{
    feed::FeedSubscription,
    history::AsOf,
    jobs::job::Jobs,
    read_model::{self, Viewer},
};
use tokio::time::Instant;

pub use items::*;

use super::{
    context::{app, caller, user, viewer},
    errors::{denied, error_with_code, read_failed},
    ids::id_or_not_found,
    jobs::{Job, JobState},
    scalars::Long,
};
use crate::{
    app::{App, Caller, TIMEOUT},
    http::graphql::ResumeFrom,
};

/// Time between two signs of life on a quiet feed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where the endpoint reads the position of the last item sent.
#[derive(Clone, Default)]
pub struct LastPosition(pub Arc<AtomicU64>);

struct Feed {
    app: App,
    caller: Caller,
    job: JobId,
    owner: UserId,
    include: Vec<JobFeedKind>,
    last: LastPosition,
    /// Where the feed stands: the one source of the positions of heartbeats.
    subscription: FeedSubscription,
    /// Takes no room while nothing waits.
    pending: VecDeque<JobFeedItem>,
    /// The last event of the job that was known when the feed began; ends before that were not the last.
    known: Position,
    /// The end that is due once the feed has come to what was known, when the job was over by then.
    over: Option<JobFeedItem>,
    /// When a sign of life is due.
    heartbeat_at: Instant,
    ended: bool,
}

/// Live views.
#[derive(Default)]
pub struct JobFeedSubscription;

/// Live views.
#[Subscription(name = "Subscription")]
impl JobFeedSubscription {
    /// Follows a job: a snapshot, then what happens, with a heartbeat after 15 seconds without an item, until the job
    /// ends. With `after`, goes on from that position without a snapshot. The feed can be
    /// resumed after the position of any item without missing anything.
    async fn job_feed(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The job.")] job_id: ID,
        #[graphql(
            desc = "Resume after this position. Over server-sent events, `Last-Event-ID` does the same."
        )]
        after: Option<Long>,
        #[graphql(desc = "Kinds of items; all if omitted.")] include: Option<Vec<JobFeedKind>>,
    ) -> Result<impl Stream<Item = Result<JobFeedItem>> + use<>> {
        user(context)?;
        let app = app(context)?.clone();
        let job = id_or_not_found::<JobId>(&job_id)?;
        let resumed = context.data_opt::<ResumeFrom>().map(resumed).transpose()?;
        let after = resumed.or(after).map(|after| Position(after.0));
        let include =
            include.unwrap_or_else(|| vec![JobFeedKind::State, JobFeedKind::Metrics, JobFeedKind::Log]);
        let last = context.data_opt::<LastPosition>().cloned().unwrap_or_default();
        // Opening takes much room and is done once: a feed that lasts for hours has given it back.
        let feed = Box::pin(Feed::open(
            app,
            caller(context)?.clone(),
            viewer(context)?,
            job,
            after,
            include,
            last,
        ))
        .await?;
        let items = futures::stream::unfold(feed, |mut feed| async move {
            let item = feed.next().await?;
            if let Ok(item) = &item {
                feed.last.0.store(item.position(), Ordering::Relaxed);
            }
            Some((item, feed))
        });
        // Who polls it after its end gets the end again.
        Ok(items.fuse())
    }
}

/// The position that a client comes back with.
fn resumed(from: &ResumeFrom) -> Result<Long> {
    let position = from.0.parse().map(Long);
    position.map_err(|_| error_with_code("BAD_USER_INPUT", "this is no position of a job feed"))
}

/// The head of the log, as far as it matters to a feed that goes on after `after`: what this process knows at no cost,
/// unless the position lies beyond that, because another process recorded it a moment ago.
async fn head(app: &App, after: Option<Position>) -> Result<Position> {
    let known = app.ports.store.known_head();
    if after.is_none_or(|after| after <= known) {
        return Ok(known);
    }
    app.ports.store.head().await.map_err(|error| {
        tracing::warn!(%error, "a job feed could not begin");
        error_with_code(
            "UNAVAILABLE",
            "the log cannot be read at present; try again later",
        )
    })
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
        let head = head(&app, after).await?;
        // The row has to exist before a stranger can be told from a latecomer.
        app.progress
            .wait_for_position(head, TIMEOUT)
            .await
            .map_err(|error| error_with_code("UNAVAILABLE", error.to_string()))?;
        let row = read_model::find::<Jobs>(&app.read_models, &viewer, AsOf::Now, job.0)
            .await
            .map_err(|e| read_failed(&e))?;
        let row = row.ok_or_else(|| error_with_code("NOT_FOUND", "not found"))?;
        let known = Position(u64::try_from(row.position).unwrap_or_default());
        let resumed = after.filter(|after| *after <= head);
        let mut pending = VecDeque::new();
        if after != resumed {
            pending.push_back(gap());
        }
        if resumed.is_none() {
            pending.push_back(JobFeedItem::Snapshot(JobSnapshot {
                position: known.into(),
                job: Job::now(row.clone()),
            }));
        }
        let from = resumed.unwrap_or(known);
        let over = row.state.is_final();
        let filter = Filter {
            stream_prefixes: vec![
                JobAggregate::stream(job).to_string(),
                Progress::stream(job).to_string(),
            ],
            kind_prefixes: Vec::new(),
        };
        let subscription = app.feed.follow(from, filter);
        Ok(Self {
            app,
            caller,
            job,
            owner: row.owner_id,
            include,
            last,
            subscription,
            pending,
            known,
            over: over.then(|| end_of(known.max(from), row.state.into())),
            heartbeat_at: Instant::now() + HEARTBEAT,
            ended: false,
        })
    }

    /// The next item; `None` when the feed is over.
    async fn next(&mut self) -> Option<Result<JobFeedItem>> {
        loop {
            if !self.pending.is_empty()
                && let Err(error) = self.check_access().await
            {
                return Some(self.end_with(error));
            }
            if let Some(item) = self.pending.pop_front() {
                if self.pending.is_empty() {
                    self.pending = VecDeque::new();
                }
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            if self.subscription.position() >= self.known
                && let Some(end) = self.over.take()
            {
                self.pending.push_back(end);
                self.ended = true;
                continue;
            }
            let come = self.subscription.next_until(self.heartbeat_at).await;
            if let Err(error) = self.take(come) {
                return Some(self.end_with(error));
            }
        }
    }

    /// Turns what the follower came by into items: an event, or nothing for a while.
    fn take(&mut self, come: Result<Option<Arc<RecordedEvent>>, StoreError>) -> Result<()> {
        let come = come.map_err(|error| {
            tracing::warn!(%error, job = %self.job, "a job feed ended");
            error_with_code("UNAVAILABLE", "the log cannot be read at present; resume later")
        })?;
        match come {
            Some(event) => self.translate(&event),
            None => {
                let position = self.subscription.position().into();
                self.pending
                    .push_back(JobFeedItem::Heartbeat(FeedHeartbeat { position }));
                Ok(())
            }
        }
    }

    fn end_with(&mut self, error: Error) -> Result<JobFeedItem> {
        self.ended = true;
        self.pending.clear();
        Err(error)
    }

    /// Whether the caller may still see the job: by the rights at the position of the feed or after it, so that nothing
    /// is shown that was recorded after they were lost.
    async fn check_access(&self) -> Result<()> {
        let position = self.subscription.position().max(self.known);
        let rights = self.app.directory.wait_for_position(position, TIMEOUT).await;
        rights.map_err(|error| error_with_code("UNAVAILABLE", error.to_string()))?;
        let gone = || error_with_code("FORBIDDEN", "the session has ended or access was withdrawn");
        let session = self.caller.session().ok_or_else(gone)?;
        let user = self
            .app
            .directory
            .session(session, self.app.now())
            .ok_or_else(gone)?;
        let resource = Resource::of(JobAggregate::KIND, self.job, Some(self.owner));
        let needed = Requirement::one(Action::TrainingRead, resource);
        let principal = Principal::User(Box::new(user));
        let circumstances = self.caller.circumstances(self.app.now());
        permit(&principal, &needed, &circumstances).map_err(|refusal| denied(&refusal))
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
                at: event.at.into(),
                event: event.kind.clone(),
                state,
                attempt,
                message,
            }));
        }
        // Of ends that were known when the feed began, only the last counts, and that is due anyway.
        if let Some(state @ (JobState::Completed | JobState::Failed | JobState::Cancelled)) = state
            && event.position > self.known
        {
            self.pending.push_back(end_of(event.position, state));
            self.ended = true;
        }
        Ok(())
    }
}
