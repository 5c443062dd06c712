//! The parts of a job: its kind, its state, its attempts, and what it demands of its worker.

use async_graphql::{Enum, Object};
use domain::jobs::{
    job::{Import, JobState as State, KindName},
    requirements::JobRequirements,
};
use projections::jobs::job::AttemptRow;

use crate::graphql::scalars::{DateTime, Long};

/// Kind of a job. New values may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
pub enum JobKind {
    /// It trains a model.
    Training,
    /// It imports a model from a folder.
    Import,
}

impl From<KindName> for JobKind {
    fn from(kind: KindName) -> Self {
        match kind {
            KindName::Training => Self::Training,
            KindName::Import => Self::Import,
        }
    }
}

impl From<JobKind> for KindName {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Training => Self::Training,
            JobKind::Import => Self::Import,
        }
    }
}

/// What a job imports, and how far it is.
pub struct JobImport {
    pub(super) ordered: Import,
    pub(super) copied: i64,
}

/// What a job imports, and how far it is.
#[Object]
impl JobImport {
    /// The folder, below the import folder of the server.
    async fn folder(&self) -> &str {
        &self.ordered.folder
    }
    /// Bytes of its files when it was ordered; so much room is reserved in the owner's storage quota.
    async fn bytes(&self) -> Long {
        Long(self.ordered.bytes)
    }
    /// Bytes that are copied.
    async fn copied_bytes(&self) -> Long {
        Long::from(self.copied)
    }
    /// Files when it was ordered. `Job.step` counts those that are stored.
    async fn files(&self) -> u32 {
        self.ordered.files
    }
}

/// State of a job. New values may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum JobState {
    /// It waits for a worker.
    Queued,
    /// A worker has leased it and is preparing.
    Starting,
    /// It is running.
    Running,
    /// It is paused; it still counts against the owner's concurrent jobs.
    Paused,
    /// It completed with a model.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Paused => Self::Paused,
            State::Completed => Self::Completed,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Starting => Self::Starting,
            JobState::Running => Self::Running,
            JobState::Paused => Self::Paused,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// One attempt at a job. A job has several when a worker was lost or drained, or it was paused or restarted.
pub struct JobAttempt(pub(super) AttemptRow);

/// One attempt at a job, on one worker.
#[Object]
impl JobAttempt {
    /// Number, from 1; restarts continue the count.
    async fn number(&self) -> i32 {
        self.0.number
    }
    /// The worker: host and device.
    async fn worker(&self) -> &str {
        &self.0.worker
    }
    /// When the worker leased the job.
    async fn leased_at(&self) -> DateTime {
        self.0.leased_at.into()
    }
    /// Step from which it started; null until training starts.
    async fn from_step(&self) -> Option<i32> {
        self.0.from_step
    }
    /// When it ended; null while in progress.
    async fn ended_at(&self) -> Option<DateTime> {
        self.0.ended_at.map(DateTime)
    }
    /// How it ended: `completed`, `failed`, `cancelled`, `paused` or `interrupted`. New values may be added.
    async fn end(&self) -> Option<&str> {
        self.0.end.as_deref()
    }
    /// Why it ended.
    async fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
    /// Seconds on the worker; null while in progress.
    async fn worker_seconds(&self) -> Option<f64> {
        self.0.milliseconds.map(seconds)
    }
}

pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Requirements on the worker of a job.
pub struct Requirements(pub(super) JobRequirements);

/// Requirements on the worker of a job.
#[Object(name = "JobRequirements")]
impl Requirements {
    /// Required worker labels.
    async fn labels(&self) -> Vec<&str> {
        self.0.labels.iter().map(String::as_str).collect()
    }
    /// Required worker memory in bytes.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.memory_bytes.map(Long)
    }
    /// Minimum engine version of the worker.
    async fn engine(&self) -> u32 {
        self.0.engine
    }
}
