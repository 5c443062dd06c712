//! Records what an attempt has to say.
//!
//! One rule: a report is repeated until it is known to be recorded or refused, and recorded once. Before a
//! repetition the log is asked whether the first try landed after all.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use domain::{
    aggregate::load,
    authz::Principal,
    event_store::Metadata,
    execute::{Command, ExecuteError, Ports, execute},
    id::{JobId, WorkerId},
    jobs::{
        checkpoint::place,
        job::{Job, JobState},
        lease::InterruptJob,
        progress::{Batch, ImportProgress, LogLine, ReportImport, ReportProgress},
        report::{AttemptReport, Report},
    },
};
use uuid::Uuid;

use super::outcome::AttemptOutcome;

/// Waits between tries: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// See the module.
pub(super) struct Reporter {
    ports: Ports,
    principal: Principal,
    meta: Metadata,
    job: JobId,
    attempt: u32,
    batches: AtomicU32,
}

/// What became of one try.
enum Tried {
    Recorded,
    Refused,
    Unknown,
}

impl Reporter {
    pub(super) fn new(ports: Ports, worker: WorkerId, job: JobId, attempt: u32) -> Self {
        let principal = Principal::Worker(worker);
        let meta = Metadata {
            actor: principal.actor(),
            correlation_id: Some(job.0),
            ..Metadata::default()
        };
        Self {
            ports,
            principal,
            meta,
            job,
            attempt,
            batches: AtomicU32::new(0),
        }
    }

    /// The attempt.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Records a milestone.
    ///
    /// # Errors
    /// [`AttemptOutcome::TakenAway`] when this attempt is no longer under way.
    pub(super) async fn report(&self, report: AttemptReport) -> Result<(), AttemptOutcome> {
        let command = Report {
            job: self.job,
            attempt: self.attempt,
            report,
        };
        self.until_known(&command, |job| self.shows(job, &command.report))
            .await
    }

    /// Gives the job back.
    ///
    /// # Errors
    /// [`AttemptOutcome::TakenAway`] when somebody else has taken it already.
    pub(super) async fn interrupt(&self, cause: String, counts: bool) -> Result<(), AttemptOutcome> {
        let command = InterruptJob {
            job: self.job,
            attempt: self.attempt,
            cause,
            counts,
        };
        self.until_known(&command, |_| false).await
    }

    /// Records a batch of progress; its id comes from its number, so that a repetition is no second one.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub(super) async fn progress(&self, batch: Batch) -> Result<(), AttemptOutcome> {
        let command = ReportProgress {
            job: self.job,
            attempt: self.attempt,
            id: self.next_batch(),
            batch,
        };
        self.until_known(&command, |_| false).await
    }

    /// Adds a line to the job's log at once, before a training has begun.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub(super) async fn line(&self, level: &str, message: String) -> Result<(), AttemptOutcome> {
        let level = level.to_owned();
        let batch = Batch {
            log: vec![LogLine { level, message }],
            ..Batch::default()
        };
        self.progress(batch).await
    }

    /// Records how far an import is, as [`progress`](Self::progress).
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub(super) async fn import_progress(&self, progress: ImportProgress) -> Result<(), AttemptOutcome> {
        let command = ReportImport {
            job: self.job,
            attempt: self.attempt,
            id: self.next_batch(),
            progress,
        };
        self.until_known(&command, |_| false).await
    }

    fn next_batch(&self) -> Uuid {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        batch_id(self.job, self.attempt, number)
    }

    async fn until_known<C: Command>(
        &self,
        command: &C,
        shown: impl Fn(&Job) -> bool,
    ) -> Result<(), AttemptOutcome> {
        let mut pause = PAUSE.0;
        let mut unknown = false;
        loop {
            match self.once(command).await? {
                Tried::Recorded => return Ok(()),
                Tried::Refused if !unknown => return Err(AttemptOutcome::TakenAway),
                Tried::Refused | Tried::Unknown => unknown = true,
            }
            match load::<Job>(self.ports.store.as_ref(), self.job).await {
                Ok(recorded) if shown(&recorded.state) => return Ok(()),
                Ok(recorded) if !self.holds(&recorded.state) => return Err(AttemptOutcome::TakenAway),
                Ok(_) => {}
                Err(error) if error.passes() => {}
                Err(error) => return Err(AttemptOutcome::lost(format!("the job cannot be read: {error}"))),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn once<C: Command>(&self, command: &C) -> Result<Tried, AttemptOutcome> {
        match execute(&self.ports, &self.principal, &self.meta, command).await {
            Ok(_) => Ok(Tried::Recorded),
            Err(ExecuteError::Refused(_) | ExecuteError::Denied(_)) => Ok(Tried::Refused),
            Err(ExecuteError::Busy) => Ok(Tried::Unknown),
            Err(ExecuteError::Store(error)) if error.passes() => {
                tracing::warn!(job = %self.job, %error, "a report waits for the event store");
                Ok(Tried::Unknown)
            }
            Err(error) => Err(AttemptOutcome::lost(format!(
                "a report could not be recorded: {error}"
            ))),
        }
    }

    /// Whether this attempt is under way.
    fn holds(&self, job: &Job) -> bool {
        job.state.is_leased() && job.attempt == self.attempt
    }

    /// Whether the job already shows this report.
    fn shows(&self, job: &Job, report: &AttemptReport) -> bool {
        job.attempt == self.attempt
            && match report {
                AttemptReport::Started { .. } => job.state == JobState::Running,
                AttemptReport::Checkpoint(checkpoint) => job.checkpoint.as_ref() == Some(checkpoint),
                AttemptReport::Stored { checkpoint, .. } => {
                    let place = place(self.job, self.attempt, &checkpoint.sha256);
                    job.stored.iter().any(|stored| stored.artifact == place)
                }
                AttemptReport::FilesStored(files) => files.iter().all(|file| job.imported.contains(file)),
                AttemptReport::Completed { .. } => job.state == JobState::Completed,
                AttemptReport::Failed { .. } => job.state == JobState::Failed,
            }
    }
}

/// The id of a batch: `UUIDv5` of attempt and number in the name space of the job.
fn batch_id(job: JobId, attempt: u32, number: u32) -> Uuid {
    Uuid::new_v5(&job.0, format!("{attempt}/{number}").as_bytes())
}
