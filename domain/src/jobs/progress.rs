//! Dense progress: metrics, log lines and samples, in batches, in a stream beside the job's own (JB-5).

use serde::{Deserialize, Serialize};

use super::{job::Job, report::ReportRefusal};
use crate::{
    aggregate::{Aggregate, event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::JobId,
    payload::Leaves,
};

/// One step's measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Point {
    /// The step, from 1.
    pub step: u32,
    /// Training loss: mean negative log-likelihood per token, in nats.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens trained per second of this step.
    pub tokens_per_second: f64,
}

/// One evaluation on the held-out share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Evaluation {
    /// After this step.
    pub step: u32,
    /// Mean negative log-likelihood per token, in nats.
    pub loss: f64,
}

/// A text that the model wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Sample {
    /// After this step; 0 is before training.
    pub step: u32,
    /// What it was given.
    #[plain]
    pub prompt: String,
    /// What it wrote.
    #[plain]
    pub text: String,
}

/// A line of the job's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct LogLine {
    /// `info`, `warn` or `error`.
    #[plain]
    pub level: String,
    /// What happened.
    #[plain]
    pub message: String,
}

/// How busy the GPU of a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct GpuUse {
    /// Share of the last moments in which it computed, in percent.
    pub busy_percent: u32,
    /// Bytes of its memory that are in use.
    pub memory_bytes: u64,
}

/// What happened since the last report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Steps done in all.
    pub step: u32,
    /// Steps to do in all.
    pub total_steps: u32,
    /// Estimated seconds to the end, once known.
    pub eta_seconds: Option<u32>,
    /// Resident memory of the training process, in bytes.
    pub memory_bytes: Option<u64>,
    /// Its GPU, where there is one that tells.
    pub gpu: Option<GpuUse>,
    /// Measurements.
    pub points: Vec<Point>,
    /// Evaluations.
    pub evaluations: Vec<Evaluation>,
    /// Generated texts.
    pub samples: Vec<Sample>,
    /// Log lines.
    pub log: Vec<LogLine>,
}

impl Batch {
    /// The numbers of the batch.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            step: self.step,
            total_steps: self.total_steps,
            eta_seconds: self.eta_seconds,
            memory_bytes: self.memory_bytes,
            gpu: self.gpu,
            points: self.points.clone(),
            evaluations: self.evaluations.clone(),
        }
    }

    fn has_words(&self) -> bool {
        !self.samples.is_empty() || !self.log.is_empty()
    }

    fn has_numbers(&self) -> bool {
        !self.points.is_empty() || !self.evaluations.is_empty()
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ImportProgress {
    /// Files that are stored.
    pub files: u32,
    /// Files in all.
    pub total_files: u32,
    /// Bytes that are copied.
    pub bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Estimated seconds to the end, once known.
    pub eta_seconds: Option<u32>,
}

/// The numbers of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Metrics {
    /// Steps done in all.
    pub step: u32,
    /// Steps to do in all.
    pub total_steps: u32,
    /// Estimated seconds to the end, once known.
    pub eta_seconds: Option<u32>,
    /// Resident memory of the training process, in bytes.
    pub memory_bytes: Option<u64>,
    /// Its GPU, where there is one that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuUse>,
    /// Measurements.
    pub points: Vec<Point>,
    /// Evaluations.
    pub evaluations: Vec<Evaluation>,
}

/// The progress of one job. Keeps nothing: it is there to be followed in the log.
#[derive(Clone, Debug, Default)]
pub struct Progress;

/// Facts about progress.
#[event(context = "jobs", subject = nobody)]
#[derive(Clone, Debug, PartialEq)]
pub enum ProgressEvent {
    /// The numbers of a batch, at most about one a second.
    #[event(name = "ProgressReported")]
    Reported {
        /// The attempt.
        attempt: u32,
        /// The numbers.
        #[serde(flatten)]
        metrics: Metrics,
    },
    /// How far an import is, at most about once a second.
    #[event(name = "ImportProgressed")]
    Imported {
        /// The attempt.
        attempt: u32,
        /// The numbers.
        #[serde(flatten)]
        progress: ImportProgress,
    },
    /// The words of a batch. A fact of its own, so that a feed has one item for each position and can go on
    /// after any of them.
    #[event(name = "LogAppended")]
    Logged {
        /// The attempt.
        attempt: u32,
        /// Steps done in all.
        step: u32,
        /// Generated texts.
        samples: Vec<Sample>,
        /// Log lines.
        log: Vec<LogLine>,
    },
}

impl ProgressEvent {
    /// The attempt, and the steps done in all.
    #[must_use]
    pub fn place(&self) -> (u32, u32) {
        match self {
            Self::Reported { attempt, metrics } => (*attempt, metrics.step),
            Self::Imported { attempt, progress } => (*attempt, progress.files),
            Self::Logged { attempt, step, .. } => (*attempt, *step),
        }
    }
}

impl Aggregate for Progress {
    const CATEGORY: &'static str = "jobs.progress";
    type Event = ProgressEvent;
    fn evolve(&mut self, _: &ProgressEvent) {}
}

/// Reports a batch of progress. The job's own stream is checked in the same append, so that a worker whose lease has
/// passed on, or whose job was cancelled, writes nothing (JB-4).
#[derive(Clone, Debug)]
pub struct ReportProgress {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Makes a repeated report one: derived from job, attempt and batch number.
    pub id: uuid::Uuid,
    /// The batch.
    pub batch: Batch,
}

impl Command for ReportProgress {
    type Refusal = ReportRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::LeaseOf(loaded.get::<Job>(self.job).resource(self.job))
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<ReportRefusal> {
        super::report::under_way(&loaded.get::<Job>(self.job), self.attempt)?;
        let (attempt, batch) = (self.attempt, &self.batch);
        let mut changes = NewEvents::none();
        if batch.has_numbers() || !batch.has_words() {
            let reported = ProgressEvent::Reported {
                attempt,
                metrics: batch.metrics(),
            };
            changes = changes.and_once::<Progress>(self.job, self.id, &reported);
        }
        if batch.has_words() {
            let (samples, log) = (batch.samples.clone(), batch.log.clone());
            let logged = ProgressEvent::Logged {
                attempt,
                step: batch.step,
                samples,
                log,
            };
            let id = uuid::Uuid::new_v5(&self.id, b"words");
            changes = changes.and_once::<Progress>(self.job, id, &logged);
        }
        Ok(changes)
    }
}

/// Reports how far an import is; as [`ReportProgress`].
#[derive(Clone, Debug)]
pub struct ReportImport {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Makes a repeated report one.
    pub id: uuid::Uuid,
    /// How far it is.
    pub progress: ImportProgress,
}

impl Command for ReportImport {
    type Refusal = ReportRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::LeaseOf(loaded.get::<Job>(self.job).resource(self.job))
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<ReportRefusal> {
        super::report::under_way(&loaded.get::<Job>(self.job), self.attempt)?;
        let (attempt, progress) = (self.attempt, self.progress);
        let reported = ProgressEvent::Imported { attempt, progress };
        Ok(NewEvents::none().and_once::<Progress>(self.job, self.id, &reported))
    }
}
