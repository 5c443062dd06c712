//! The live view of a job: a snapshot, then everything that happens, resumable from a position (GQ-4).
//!
//! Access is decided again at every item. A slow reader never makes the server hold more than one item:
//! the feed reads on when the reader is ready, and the log keeps the rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_graphql::{Context, Enum, Error, ID, Result, SimpleObject, Subscription, Union};
use domain::{
    aggregate::{Aggregate, decode},
    authz::{Action, Principal, Requirement, permit},
    event_store::{Filter, Position, RecordedEvent},
    id::{JobId, UserId},
    jobs::{
        job::{Job as JobAggregate, JobEvent},
        progress::{Evaluation, LogLine, Point, Progress, ProgressEvent, Sample},
    },
};
use futures::Stream;
use projections::{feed::Follower, paging::Viewer};
use time::OffsetDateTime;

use super::{
    access::id_or_not_found,
    context::{app, caller, coded, denied, unreadable, user, viewer},
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

/// What a feed carries besides its snapshot, heart-beats and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobFeedKind {
    /// Changes of state.
    State,
    /// Measurements.
    Metrics,
    /// Log lines and generated samples.
    Log,
}

/// The job as it stands, first of all.
#[derive(SimpleObject)]
pub struct JobSnapshot {
    /// Everything up to this position is in it.
    pub position: Long,
    /// The job.
    pub job: Job,
}

/// Something happened to the job.
#[derive(SimpleObject)]
pub struct JobDelta {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// What happened, as in the audit log: `jobs.JobLeased`, `jobs.CheckpointSaved`, … The list may grow.
    pub event: String,
    /// Where the job stands after it; null when it stays where it is.
    pub state: Option<JobState>,
    /// The attempt it belongs to.
    pub attempt: u32,
    /// In words.
    pub message: String,
}

/// One step's measurements.
#[derive(SimpleObject)]
pub struct MetricPoint {
    /// The step, from 1.
    pub step: u32,
    /// Training loss, in nats per token.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
}

/// One evaluation.
#[derive(SimpleObject)]
pub struct EvaluationPoint {
    /// After this step.
    pub step: u32,
    /// Loss on the held-out share, in nats per token.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
}

/// Measurements since the last batch.
#[derive(SimpleObject)]
pub struct JobMetricBatch {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// Steps done.
    pub step: u32,
    /// Steps to do in all.
    pub total_steps: u32,
    /// Estimated seconds to the end.
    pub eta_seconds: Option<u32>,
    /// Resident memory of the training process in bytes.
    pub memory_bytes: Option<Long>,
    /// One for each step, thinned out when there are many.
    pub points: Vec<MetricPoint>,
    /// Evaluations.
    pub evaluations: Vec<EvaluationPoint>,
}

/// A log line or a sample.
#[derive(SimpleObject)]
pub struct JobLogLine {
    /// `info`, `warn`, `error` or `sample`.
    pub level: String,
    /// The text.
    pub message: String,
    /// For samples: after this step; 0 is before training.
    pub step: Option<u32>,
    /// For samples: what the model was given.
    pub prompt: Option<String>,
}

/// Log lines and samples since the last chunk.
#[derive(SimpleObject)]
pub struct JobLogChunk {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// The lines.
    pub lines: Vec<JobLogLine>,
}

/// What was asked for cannot be continued from: a snapshot follows.
#[derive(SimpleObject)]
pub struct FeedGap {
    /// Where the feed goes on.
    pub position: Long,
    /// Why.
    pub reason: String,
}

/// Nothing happened, and the feed is alive.
#[derive(SimpleObject)]
pub struct FeedHeartbeat {
    /// Head of the log: everything up to here has been looked at.
    pub position: Long,
}

/// Nothing more will happen. A query sees the end from this position on: give it as `minPosition`.
#[derive(SimpleObject)]
pub struct FeedEnd {
    /// Position of the last event.
    pub position: Long,
    /// Where the job ended.
    pub state: JobState,
    /// In words.
    pub reason: String,
}

/// What a job's feed carries.
#[derive(Union)]
#[expect(clippy::large_enum_variant, reason = "one item at a time is alive")]
pub enum JobFeedItem {
    /// The job as it stands.
    Snapshot(JobSnapshot),
    /// Something happened.
    Delta(JobDelta),
    /// Measurements.
    Metrics(JobMetricBatch),
    /// Log lines and samples.
    Log(JobLogChunk),
    /// The feed could not go on where it was asked to.
    Gap(FeedGap),
    /// The feed is alive.
    Heartbeat(FeedHeartbeat),
    /// Nothing more will come.
    End(FeedEnd),
}

impl JobFeedItem {
    fn position(&self) -> u64 {
        match self {
            Self::Snapshot(item) => item.position.0,
            Self::Delta(item) => item.position.0,
            Self::Metrics(item) => item.position.0,
            Self::Log(item) => item.position.0,
            Self::Gap(item) => item.position.0,
            Self::Heartbeat(item) => item.position.0,
            Self::End(item) => item.position.0,
        }
    }
}

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
        let row = projections::jobs::job::find(&app.pool, viewer, job)
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
                    job: Job(row.clone()),
                }));
                shown
            }
            None => {
                pending.push_back(JobFeedItem::Snapshot(JobSnapshot {
                    position: shown.into(),
                    job: Job(row.clone()),
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
        if let Some(state @ (JobState::Completed | JobState::Failed | JobState::Cancelled)) = state {
            self.pending.push_back(end_of(event.position, state));
            self.ended = true;
        }
        Ok(())
    }
}

fn end_of(position: Position, state: JobState) -> JobFeedItem {
    let reason = match state {
        JobState::Completed => "the job is completed",
        JobState::Failed => "the job has failed",
        _ => "the job was cancelled",
    };
    JobFeedItem::End(FeedEnd {
        position: position.into(),
        state,
        reason: reason.to_owned(),
    })
}

fn describe(event: &JobEvent) -> (Option<JobState>, u32, String) {
    match event {
        JobEvent::Queued(order) => (Some(JobState::Queued), 0, format!("'{}' is queued", order.name)),
        JobEvent::Leased {
            attempt, worker_name, ..
        } => (
            Some(JobState::Starting),
            *attempt,
            format!("{worker_name} took the job"),
        ),
        JobEvent::Started {
            attempt,
            from_step: 0,
            total_steps,
            trained_parameters,
        } => {
            let message = format!("training {trained_parameters} parameters for {total_steps} steps");
            (Some(JobState::Running), *attempt, message)
        }
        JobEvent::Started {
            attempt,
            from_step,
            total_steps,
            ..
        } => {
            let message = format!("training goes on from step {from_step} of {total_steps}");
            (Some(JobState::Running), *attempt, message)
        }
        JobEvent::CheckpointSaved { attempt, checkpoint } => (
            None,
            *attempt,
            format!("checkpoint after step {}", checkpoint.step),
        ),
        JobEvent::Interrupted { attempt, cause, .. } => {
            (Some(JobState::Queued), *attempt, format!("interrupted: {cause}"))
        }
        JobEvent::Completed { attempt, model, .. } => (
            Some(JobState::Completed),
            *attempt,
            format!("completed as {} version {}", model.model, model.version),
        ),
        JobEvent::Failed {
            attempt,
            code,
            message,
        } => (Some(JobState::Failed), *attempt, format!("{code}: {message}")),
        JobEvent::Cancelled { attempt, reason } if reason.is_empty() => {
            (Some(JobState::Cancelled), *attempt, "cancelled".to_owned())
        }
        JobEvent::Cancelled { attempt, reason } => (
            Some(JobState::Cancelled),
            *attempt,
            format!("cancelled: {reason}"),
        ),
    }
}

/// One event is one item, so that a feed can go on after any position.
fn progress_item(event: &RecordedEvent, news: ProgressEvent, include: &[JobFeedKind]) -> Option<JobFeedItem> {
    let (position, at) = (event.position.into(), event.at);
    match news {
        ProgressEvent::Reported { metrics, .. } if include.contains(&JobFeedKind::Metrics) => {
            Some(JobFeedItem::Metrics(JobMetricBatch {
                position,
                at,
                step: metrics.step,
                total_steps: metrics.total_steps,
                eta_seconds: metrics.eta_seconds,
                memory_bytes: metrics.memory_bytes.map(Long),
                points: metrics.points.into_iter().map(MetricPoint::from).collect(),
                evaluations: metrics
                    .evaluations
                    .into_iter()
                    .map(EvaluationPoint::from)
                    .collect(),
            }))
        }
        ProgressEvent::Logged { samples, log, .. } if include.contains(&JobFeedKind::Log) => {
            let lines = log.into_iter().map(JobLogLine::from);
            let lines = lines.chain(samples.into_iter().map(JobLogLine::from)).collect();
            Some(JobFeedItem::Log(JobLogChunk { position, at, lines }))
        }
        ProgressEvent::Reported { .. } | ProgressEvent::Logged { .. } => None,
    }
}

impl From<Point> for MetricPoint {
    fn from(point: Point) -> Self {
        Self {
            step: point.step,
            loss: point.loss,
            learning_rate: point.learning_rate,
            gradient_norm: point.gradient_norm,
            tokens_per_second: point.tokens_per_second,
        }
    }
}

impl From<Evaluation> for EvaluationPoint {
    fn from(evaluation: Evaluation) -> Self {
        Self {
            step: evaluation.step,
            loss: evaluation.loss,
            perplexity: evaluation.loss.exp(),
        }
    }
}

impl From<LogLine> for JobLogLine {
    fn from(line: LogLine) -> Self {
        Self {
            level: line.level,
            message: line.message,
            step: None,
            prompt: None,
        }
    }
}

impl From<Sample> for JobLogLine {
    fn from(sample: Sample) -> Self {
        let (step, prompt) = (Some(sample.step), Some(sample.prompt));
        Self {
            level: "sample".to_owned(),
            message: sample.text,
            step,
            prompt,
        }
    }
}
