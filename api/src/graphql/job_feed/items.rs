//! What a job's feed carries: one item for each position, so that it can go on after any of them.

use async_graphql::{Enum, SimpleObject, Union};
use domain::{
    event_store::{Position, RecordedEvent},
    jobs::progress::{Evaluation, LogLine, Point, ProgressEvent, Sample},
};

use crate::graphql::{
    jobs::{Job, JobState},
    scalars::{DateTime, Long},
};

/// Kinds of items in a job feed besides snapshots, heartbeats and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobFeedKind {
    /// State changes.
    State,
    /// Metrics, and how far an import is.
    Metrics,
    /// Log lines and generated samples.
    Log,
}

/// The current state of the job; first item of a feed.
#[derive(SimpleObject)]
pub struct JobSnapshot {
    /// Log position that the snapshot reflects.
    pub position: Long,
    /// The job.
    pub job: Job,
}

/// A change of the job.
#[derive(SimpleObject)]
pub struct JobDelta {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: DateTime,
    /// Event type, as in the audit log: `jobs.JobLeased`, `jobs.CheckpointSaved`, … New types may be added.
    pub event: String,
    /// State of the job afterwards; null if unchanged.
    pub state: Option<JobState>,
    /// The attempt it belongs to.
    pub attempt: u32,
    /// Human-readable description.
    pub message: String,
}

/// Metrics of one step.
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
    /// The step.
    pub step: u32,
    /// Evaluation loss on held-out data, in nats per token.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
}

/// Metrics since the last batch.
#[derive(SimpleObject)]
pub struct JobMetricBatch {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: DateTime,
    /// Completed steps.
    pub step: u32,
    /// Total steps.
    pub total_steps: u32,
    /// Estimated seconds to the end.
    pub eta_seconds: Option<u32>,
    /// Resident memory of the training process in bytes.
    pub memory_bytes: Option<Long>,
    /// GPU utilization in percent; null if not reported.
    pub gpu_busy_percent: Option<u32>,
    /// GPU memory in use, in bytes; null if not reported.
    pub gpu_memory_bytes: Option<Long>,
    /// One point per step, downsampled if there are many.
    pub points: Vec<MetricPoint>,
    /// Evaluations.
    pub evaluations: Vec<EvaluationPoint>,
}

/// How far an import is.
#[derive(SimpleObject)]
pub struct JobImportProgress {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: DateTime,
    /// Files that are stored.
    pub files: u32,
    /// Files in all.
    pub total_files: u32,
    /// Bytes that are copied.
    pub bytes: Long,
    /// Bytes in all.
    pub total_bytes: Long,
    /// Estimated seconds to the end.
    pub eta_seconds: Option<u32>,
}

/// A log line or a sample.
#[derive(SimpleObject)]
pub struct JobLogLine {
    /// `info`, `warn`, `error` or `sample`.
    pub level: String,
    /// The text.
    pub message: String,
    /// For samples: the step; 0 is before training.
    pub step: Option<u32>,
    /// For samples: the prompt.
    pub prompt: Option<String>,
}

/// Log lines and samples since the last chunk.
#[derive(SimpleObject)]
pub struct JobLogChunk {
    /// Position of the event.
    pub position: Long,
    /// When it was recorded.
    pub at: DateTime,
    /// The lines.
    pub lines: Vec<JobLogLine>,
}

/// The feed cannot resume from the requested position; a snapshot follows.
#[derive(SimpleObject)]
pub struct FeedGap {
    /// Always 0. A client that disconnects before the snapshot resumes from 0.
    pub position: Long,
    /// Reason.
    pub reason: String,
}

/// Keep-alive: nothing happened.
#[derive(SimpleObject)]
pub struct FeedHeartbeat {
    /// The last position that this feed has delivered or passed over. Resuming after it misses nothing.
    pub position: Long,
}

/// The job has ended and no more items follow. Queries with `minPosition` set to this position see the final state.
#[derive(SimpleObject)]
pub struct FeedEnd {
    /// Position of the last event.
    pub position: Long,
    /// Final state of the job; never null. Nullable like `JobDelta.state`, so that one selection may name both.
    pub state: Option<JobState>,
    /// Human-readable description.
    pub reason: String,
}

/// Items of a job feed.
#[derive(Union)]
#[expect(clippy::large_enum_variant, reason = "one item at a time is alive")]
pub enum JobFeedItem {
    /// The job as it stands.
    Snapshot(JobSnapshot),
    /// Something happened.
    Delta(JobDelta),
    /// Metrics.
    Metrics(JobMetricBatch),
    /// How far an import is.
    Import(JobImportProgress),
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
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Snapshot(item) => item.position.0,
            Self::Delta(item) => item.position.0,
            Self::Metrics(item) => item.position.0,
            Self::Import(item) => item.position.0,
            Self::Log(item) => item.position.0,
            Self::Gap(item) => item.position.0,
            Self::Heartbeat(item) => item.position.0,
            Self::End(item) => item.position.0,
        }
    }
}

/// The first item of a feed that was to go on from a position that the log does not have.
pub(super) fn gap() -> JobFeedItem {
    JobFeedItem::Gap(FeedGap {
        position: Position::START.into(),
        reason: "this position lies beyond the head of the log".to_owned(),
    })
}

pub(super) fn end_of(position: Position, state: JobState) -> JobFeedItem {
    let reason = match state {
        JobState::Completed => "the job is completed",
        JobState::Failed => "the job has failed",
        _ => "the job was cancelled",
    };
    JobFeedItem::End(FeedEnd {
        position: position.into(),
        state: Some(state),
        reason: reason.to_owned(),
    })
}

/// One event is one item, so that a feed can go on after any position.
pub(super) fn progress_item(
    event: &RecordedEvent,
    progress: ProgressEvent,
    include: &[JobFeedKind],
) -> Option<JobFeedItem> {
    let (position, at) = (event.position.into(), event.at);
    match progress {
        ProgressEvent::Reported { metrics, .. } if include.contains(&JobFeedKind::Metrics) => {
            Some(JobFeedItem::Metrics(JobMetricBatch {
                position,
                at: at.into(),
                step: metrics.step,
                total_steps: metrics.total_steps,
                eta_seconds: metrics.eta_seconds,
                memory_bytes: metrics.memory_bytes.map(Long),
                gpu_busy_percent: metrics.gpu.map(|gpu| gpu.busy_percent),
                gpu_memory_bytes: metrics.gpu.map(|gpu| Long(gpu.memory_bytes)),
                points: metrics.points.into_iter().map(MetricPoint::from).collect(),
                evaluations: metrics
                    .evaluations
                    .into_iter()
                    .map(EvaluationPoint::from)
                    .collect(),
            }))
        }
        ProgressEvent::Imported { progress, .. } if include.contains(&JobFeedKind::Metrics) => {
            Some(JobFeedItem::Import(JobImportProgress {
                position,
                at: at.into(),
                files: progress.files,
                total_files: progress.total_files,
                bytes: Long(progress.bytes),
                total_bytes: Long(progress.total_bytes),
                eta_seconds: progress.eta_seconds,
            }))
        }
        ProgressEvent::Logged { samples, log, .. } if include.contains(&JobFeedKind::Log) => {
            let lines = log.into_iter().map(JobLogLine::from);
            let lines = lines.chain(samples.into_iter().map(JobLogLine::from)).collect();
            Some(JobFeedItem::Log(JobLogChunk {
                position,
                at: at.into(),
                lines,
            }))
        }
        ProgressEvent::Reported { .. } | ProgressEvent::Imported { .. } | ProgressEvent::Logged { .. } => {
            None
        }
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
