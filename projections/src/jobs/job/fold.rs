//! How what happens to a job changes its row.

use std::collections::BTreeMap;

use domain::{
    id::WorkerId,
    jobs::{
        job::{Import, JobEvent, JobKind, JobState, Order, RestartFrom, Training},
        progress::{ImportProgress, ProgressEvent},
    },
};
use time::OffsetDateTime;

use super::{AttemptRow, JobRow};

/// Attempts that a row remembers; the log has them all.
const ATTEMPTS: usize = 100;

fn whole(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

impl JobRow {
    /// The row of a job that was just queued.
    #[must_use]
    pub fn queued(order: &Order, at: OffsetDateTime, position: i64) -> Self {
        let row = Self::of_any_kind(order, at, position);
        match &order.kind {
            JobKind::Training(training) => row.training(training),
            JobKind::Import(import) => row.importing(import),
        }
    }

    fn training(self, ordered: &Training) -> Self {
        Self {
            project_id: Some(ordered.project),
            experiment_id: Some(ordered.experiment),
            spec: Some(ordered.spec.clone()),
            dataset_id: Some(ordered.dataset.dataset),
            dataset_version: Some(whole(ordered.dataset.version)),
            base_model_id: ordered.base.as_ref().map(|base| base.version.model),
            base_model_version: ordered.base.as_ref().map(|base| whole(base.version.version)),
            total_steps: whole(ordered.spec.parameters.steps),
            ..self
        }
    }

    fn importing(self, ordered: &Import) -> Self {
        Self {
            import: Some(ordered.clone()),
            imported_bytes: Some(0),
            total_steps: whole(ordered.files),
            ..self
        }
    }

    fn of_any_kind(order: &Order, at: OffsetDateTime, position: i64) -> Self {
        Self {
            id: order.job,
            owner_id: order.owner,
            kind: order.kind.name(),
            project_id: None,
            experiment_id: None,
            name: order.name.clone(),
            state: JobState::Queued,
            spec: None,
            import: None,
            imported_bytes: None,
            dataset_id: None,
            dataset_version: None,
            base_model_id: None,
            base_model_version: None,
            model_id: order.model,
            requirements: order.requirements.clone(),
            priority: order.requirements.priority.into(),
            cloned_from: order.cloned_from,
            attempt: 0,
            losses: 0,
            pausing: false,
            attempts: Vec::new(),
            worker_id: None,
            worker_name: None,
            step: 0,
            total_steps: 0,
            loss: None,
            evaluation_loss: None,
            tokens_per_second: None,
            eta_seconds: None,
            checkpoint_step: None,
            metrics: BTreeMap::new(),
            failure_code: None,
            failure_message: None,
            queued_at: at,
            waiting_since: at,
            started_at: None,
            ended_at: None,
            worker_milliseconds: 0,
            gpu_milliseconds: 0,
            metered_at: None,
            version: 0,
            position,
        }
    }

    /// The attempt under way has ended, if there is one.
    fn end_attempt(&mut self, end: &str, cause: &str, at: OffsetDateTime) {
        self.pausing = false;
        if let Some(attempt) = self
            .attempts
            .last_mut()
            .filter(|attempt| attempt.ended_at.is_none())
        {
            attempt.ended_at = Some(at);
            attempt.end = Some(end.to_owned());
            attempt.cause = Some(cause.to_owned()).filter(|cause| !cause.is_empty());
        }
    }

    /// It leaves its worker.
    fn stand_by(&mut self, state: JobState, at: OffsetDateTime) {
        self.state = state;
        self.waiting_since = at;
        self.worker_id = None;
        self.eta_seconds = None;
        self.pausing = false;
    }

    fn restart(&mut self, from: RestartFrom, at: OffsetDateTime) {
        self.stand_by(JobState::Queued, at);
        self.losses = 0;
        self.queued_at = at;
        (self.ended_at, self.failure_code, self.failure_message) = (None, None, None);
        self.imported_bytes = self.imported_bytes.map(|_| 0);
        if from == RestartFrom::Scratch || self.import.is_some() {
            (self.step, self.checkpoint_step) = (0, None);
            (self.loss, self.evaluation_loss, self.tokens_per_second) = (None, None, None);
        }
    }

    fn end(&mut self, state: JobState, at: OffsetDateTime) {
        self.state = state;
        self.ended_at = Some(at);
        self.eta_seconds = None;
        self.worker_id = None;
    }

    /// A worker took it: its next attempt begins.
    fn lease(&mut self, attempt: u32, worker: WorkerId, worker_name: &str, at: OffsetDateTime) {
        self.state = JobState::Starting;
        self.attempt = whole(attempt);
        self.worker_id = Some(worker);
        self.worker_name = Some(worker_name.to_owned());
        self.attempts.push(AttemptRow {
            number: whole(attempt),
            worker: worker_name.to_owned(),
            leased_at: at,
            from_step: None,
            ended_at: None,
            end: None,
            cause: None,
            milliseconds: None,
        });
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS);
        self.attempts.drain(..surplus);
    }

    /// Its training runs.
    fn start(&mut self, from_step: u32, total_steps: u32, at: OffsetDateTime) {
        self.state = JobState::Running;
        self.step = whole(from_step);
        self.total_steps = whole(total_steps);
        self.started_at = self.started_at.or(Some(at));
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.from_step = Some(whole(from_step));
        }
    }

    fn resume(&mut self, at: OffsetDateTime) {
        self.pausing = false;
        if self.state == JobState::Paused {
            self.state = JobState::Queued;
            self.waiting_since = at;
        }
    }

    /// Its newest attempt had its worker for so long.
    fn meter(&mut self, milliseconds: u64, gpu: bool, at: OffsetDateTime) {
        let metered = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        self.worker_milliseconds = self.worker_milliseconds.saturating_add(metered);
        if gpu {
            self.gpu_milliseconds = self.gpu_milliseconds.saturating_add(metered);
        }
        self.metered_at = Some(at);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.milliseconds = Some(metered);
        }
    }

    /// It waits again; `counts`: as a loss.
    fn interrupt(&mut self, cause: &str, counts: bool, at: OffsetDateTime) {
        let end = match self.pausing && !counts {
            true => "paused",
            false => "interrupted",
        };
        self.end_attempt(end, cause, at);
        self.stand_by(JobState::Queued, at);
        self.losses += i32::from(counts);
    }

    fn complete(&mut self, metrics: &BTreeMap<String, String>, at: OffsetDateTime) {
        self.end_attempt("completed", "", at);
        self.end(JobState::Completed, at);
        // After early stopping these are fewer than were to do.
        let done = metrics.get("steps").and_then(|steps| steps.parse().ok());
        self.step = done.unwrap_or(self.step);
        self.metrics.clone_from(metrics);
    }

    fn fail(&mut self, code: &str, message: &str, at: OffsetDateTime) {
        self.end_attempt("failed", message, at);
        self.end(JobState::Failed, at);
        self.failure_code = Some(code.to_owned());
        self.failure_message = Some(message.to_owned());
    }

    pub(super) fn apply(&mut self, event: &JobEvent, at: OffsetDateTime, position: i64) {
        self.position = position;
        match event {
            JobEvent::Queued(_) => {}
            JobEvent::Leased {
                attempt,
                worker,
                worker_name,
                ..
            } => self.lease(*attempt, *worker, worker_name, at),
            JobEvent::Started {
                from_step,
                total_steps,
                ..
            } => self.start(*from_step, *total_steps, at),
            JobEvent::CheckpointSaved { checkpoint, .. } => {
                self.checkpoint_step = Some(whole(checkpoint.step));
            }
            JobEvent::CheckpointStored { .. }
            | JobEvent::CheckpointsReleased { .. }
            | JobEvent::FilesStored { .. } => {}
            JobEvent::PauseRequested { .. } => self.pausing = true,
            JobEvent::Paused { .. } => self.stand_by(JobState::Paused, at),
            JobEvent::Resumed { .. } => self.resume(at),
            JobEvent::Restarted { from, .. } => self.restart(*from, at),
            JobEvent::PriorityChanged { priority } => self.priority = i32::from(*priority),
            JobEvent::Metered {
                milliseconds, gpu, ..
            } => self.meter(*milliseconds, *gpu, at),
            JobEvent::Interrupted { cause, counts, .. } => self.interrupt(cause, *counts, at),
            JobEvent::Completed { metrics, .. } => self.complete(metrics, at),
            JobEvent::Failed { code, message, .. } => self.fail(code, message, at),
            JobEvent::Cancelled { reason, .. } => {
                self.end_attempt("cancelled", reason, at);
                self.end(JobState::Cancelled, at);
            }
        }
    }

    fn imported(&mut self, progress: ImportProgress) {
        self.step = whole(progress.files);
        self.total_steps = whole(progress.total_files);
        self.imported_bytes = Some(i64::try_from(progress.bytes).unwrap_or(i64::MAX));
        self.eta_seconds = progress.eta_seconds.map(whole);
    }

    pub(super) fn progress(&mut self, event: &ProgressEvent, position: i64) {
        self.position = position;
        let metrics = match event {
            ProgressEvent::Reported { metrics, .. } => metrics,
            ProgressEvent::Imported { progress, .. } => return self.imported(*progress),
            ProgressEvent::Logged { .. } => return,
        };
        self.step = whole(metrics.step);
        self.eta_seconds = metrics.eta_seconds.map(whole);
        if let Some(point) = metrics.points.last() {
            self.loss = Some(point.loss);
            self.tokens_per_second = Some(point.tokens_per_second);
        }
        if let Some(evaluation) = metrics.evaluations.last() {
            self.evaluation_loss = Some(evaluation.loss);
        }
    }
}
