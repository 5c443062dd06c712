//! One attempt at a job, from its lease to its end.
//!
//! One rule: whatever happens, the training process is gone before the attempt's end is recorded, and the
//! lease is given back after it.

pub(crate) mod artifact;
mod batch;
mod cancellation;
mod checkpoints;
mod child_protocol;
mod gpu_quota;
pub(crate) mod importing;
mod inputs;
mod manifest;
pub(crate) mod outcome;
mod prepare;
mod reporter;
mod resume;
pub(crate) mod retry;
mod stop_request;
mod told;

use std::time::Duration;

use domain::{
    event_store::Position,
    id::{JobId, WorkerId},
    jobs::{
        checkpoint::StoredCheckpoint,
        import::ImportedFile,
        job::{Checkpoint, JobKind, Order, Training},
        report::AttemptReport,
    },
    models::model::MergedModel,
};
use ml::{failure::FailureCode, files::FileEntry, message::FinalMetrics};
use objects::{Unreferenced, cache::Cached};
use tokio_util::sync::CancellationToken;

use self::{
    checkpoints::StoredCheckpoints,
    child_protocol::{ChildExit, ChildProtocol},
    importing::Importing,
    outcome::AttemptOutcome,
    prepare::Prepared,
    reporter::Reporter,
    stop_request::{StopReason, StopRequest},
    told::{decimal, named},
};
use crate::{
    child::process::{self, Child},
    folders::AttemptFolder,
    import::copy::CopyTask,
    lease::{heartbeat::LeaseHeartbeat, queue::Lease},
    settings::WorkerParts,
};

/// How long a process may take to end after it was told to because the attempt is over (JB-3: a second in all).
const GRACE: Duration = Duration::from_millis(500);
/// How long a process may take to end after its last word.
const FAREWELL: Duration = Duration::from_secs(5);

/// An attempt that a worker has leased.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) job: JobId,
    pub(crate) number: u32,
    pub(crate) worker: WorkerId,
    pub(crate) worker_name: String,
    pub(crate) order: Order,
    /// The newest recorded checkpoint.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Those that the object store has, oldest first.
    pub(crate) stored: Vec<StoredCheckpoint>,
    /// Files that earlier attempts at an import have stored.
    pub(crate) imported: Vec<ImportedFile>,
    /// Checkpoints of attempts up to this one are not gone on from.
    pub(crate) floor: u32,
    /// Whether it shall be paused already.
    pub(crate) pausing: bool,
    /// How long it may still run; `None`: for ever.
    pub(crate) left: Option<Duration>,
    /// Whether it has a GPU, and so uses up its owner's hours.
    pub(crate) gpu: bool,
    /// Where in the log all this was read.
    pub(crate) since: Position,
}

/// Works on `attempt` until it ends, and records how. `stop`: the worker shuts down.
pub(crate) async fn run(parts: WorkerParts, attempt: Attempt, stop: CancellationToken) -> AttemptOutcome {
    let lease = Lease {
        job: attempt.job,
        attempt: attempt.number,
        worker: attempt.worker,
        worker_name: attempt.worker_name.clone(),
    };
    let heartbeat = LeaseHeartbeat::start(parts.pool.clone(), lease, parts.settings.lease);
    let mut work = Work {
        reporter: Reporter::new(parts.ports.clone(), attempt.worker, attempt.job, attempt.number),
        folder: AttemptFolder::new(&parts.settings.folder, attempt.job, attempt.number).above(attempt.floor),
        parts: &parts,
        attempt: &attempt,
        stored: StoredCheckpoints {
            objects: parts.objects.clone(),
            job: attempt.job,
            keep: parts.settings.checkpoints_kept,
            known: attempt.stored.clone(),
        },
        child: None,
        copying: None,
        inputs: Vec::new(),
    };
    let stop_request = StopRequest::default();
    if attempt.pausing {
        stop_request.ask(StopReason::Pause);
    }
    let quota_exceeded = async {
        match attempt.gpu {
            true => gpu_quota::used_up(&parts, attempt.order.owner).await,
            false => std::future::pending().await,
        }
    };
    let over = async {
        tokio::select! {
            () = cancellation::taken_away(&parts.feed, attempt.job, attempt.number, attempt.since, &stop_request) => {}
            () = heartbeat.lost() => {}
            never = stop_request.watch(&stop, attempt.left, quota_exceeded) => match never {},
        }
    };
    tokio::pin!(over);
    let end = tokio::select! {
        biased;
        () = &mut over => AttemptOutcome::TakenAway,
        done = work.work(&stop_request) => done.err().unwrap_or(AttemptOutcome::Completed),
    };
    work.dismiss().await;
    let end = match end {
        AttemptOutcome::TakenAway => AttemptOutcome::TakenAway,
        end => tokio::select! {
            biased;
            () = &mut over => AttemptOutcome::TakenAway,
            end = work.record(end) => end,
        },
    };
    heartbeat.stop().await;
    end
}

struct Work<'a> {
    parts: &'a WorkerParts,
    attempt: &'a Attempt,
    reporter: Reporter,
    folder: AttemptFolder,
    stored: StoredCheckpoints,
    child: Option<Child>,
    /// What copies the files of an import.
    copying: Option<CopyTask>,
    /// What the training reads of the cache, until the attempt has ended.
    inputs: Vec<Cached>,
}

impl Work<'_> {
    /// From the order to the recorded result.
    async fn work(&mut self, stop_request: &StopRequest) -> Result<(), AttemptOutcome> {
        match &self.attempt.order.kind {
            JobKind::Training(training) => self.train(training, stop_request).await,
            JobKind::Import(import) => {
                let importing = Importing {
                    parts: self.parts,
                    attempt: self.attempt,
                    import,
                    folder: &self.folder,
                    reporter: &self.reporter,
                };
                importing.work(&mut self.copying, stop_request).await
            }
        }
    }

    /// From the folder to the recorded result of a training.
    async fn train(&mut self, training: &Training, stop_request: &StopRequest) -> Result<(), AttemptOutcome> {
        let mut refused = None;
        loop {
            let prepared = tokio::select! {
                biased;
                () = stop_request.asked() => return Err(stop_request.end()),
                prepared = prepare::prepare(self.parts, (self.attempt, training), &self.folder, &self.reporter, refused.take()) => prepared?,
            };
            let Prepared {
                job,
                resumed,
                pending,
                held,
            } = prepared;
            self.inputs = held;
            let settings = &self.parts.settings;
            fail::fail_point!("job.prepared");
            let child = Child::start(settings, &self.folder, job.environment()).map_err(|error| {
                let message =
                    format!("the training program cannot be started: {error}; check the worker's set-up");
                AttemptOutcome::failed("TRAINER_UNAVAILABLE", message)
            })?;
            let child = self.child.insert(child);
            fail::fail_point!("job.child_started");
            let mut protocol =
                ChildProtocol::new(&self.folder, child, &self.reporter, pending, &mut self.stored);
            let last = protocol.follow(stop_request).await?;
            match last {
                ChildExit::Failed {
                    code: FailureCode::CheckpointCorrupt | FailureCode::CheckpointMismatch,
                    message,
                } if resumed && !protocol.started() => {
                    self.farewell().await;
                    refused = Some(message);
                }
                last => return self.conclude(last, training, stop_request).await,
            }
        }
    }

    async fn conclude(
        &mut self,
        last: ChildExit,
        training: &Training,
        stop_request: &StopRequest,
    ) -> Result<(), AttemptOutcome> {
        match last {
            ChildExit::Completed { merged: None, .. } if training.spec.outputs.merged => {
                self.farewell().await;
                Err(AttemptOutcome::failed(
                    "TRAINER_OUTDATED",
                    "the training program does not know merged models; install the worker's own version of it",
                ))
            }
            ChildExit::Completed {
                files,
                merged,
                metrics,
            } => {
                self.farewell().await;
                self.complete(&files, merged.as_deref(), &metrics).await
            }
            ChildExit::Stopped if stop_request.is_asked() => {
                self.farewell().await;
                Err(stop_request.end())
            }
            ChildExit::Unresponsive => Err(stop_request.end()),
            ChildExit::Stopped => Err(AttemptOutcome::lost(
                "the training process stopped without being asked to",
            )),
            ChildExit::Failed {
                code: FailureCode::OutOfMemory | FailureCode::DeviceUnavailable,
                message,
            } => {
                self.farewell().await;
                Err(AttemptOutcome::lost(message))
            }
            ChildExit::Failed { code, message } => {
                self.farewell().await;
                Err(AttemptOutcome::failed(&named(code), message))
            }
            ChildExit::ProtocolError(what) => Err(AttemptOutcome::lost(format!(
                "the training process cannot be understood: {what}"
            ))),
            ChildExit::SilentExit => {
                let Some(mut child) = self.child.take() else {
                    return Err(AttemptOutcome::lost("there is no process"));
                };
                let status = child.end(GRACE).await;
                Err(AttemptOutcome::lost(process::described(
                    status,
                    &child.last_words().await,
                )))
            }
        }
    }

    /// Stores the result and records it. A result that nobody will refer to is deleted again.
    async fn complete(
        &mut self,
        files: &[FileEntry],
        merged: Option<&[FileEntry]>,
        metrics: &FinalMetrics,
    ) -> Result<(), AttemptOutcome> {
        let objects = &self.parts.objects;
        let place = format!("{}/{}", self.attempt.job, self.attempt.number);
        let stored = artifact::store(objects, &self.folder.artifact(), &place, files).await?;
        let merged = match merged {
            None => None,
            Some(files) => {
                let place = format!("{place}/merged");
                match artifact::store(objects, &self.folder.merged(), &place, files).await {
                    Ok(merged) => Some(merged),
                    Err(end) => {
                        stored.unreferenced.take_back().await;
                        return Err(end);
                    }
                }
            }
        };
        fail::fail_point!("job.result_stored");
        let completed = AttemptReport::Completed {
            artifact: stored.location.clone(),
            sha256: stored.sha256.clone(),
            files: stored.files.clone(),
            merged: merged.as_ref().map(|merged| MergedModel {
                sha256: merged.sha256.clone(),
                artifact: merged.location.clone(),
                files: merged.files.clone(),
            }),
            metrics: decimal(metrics),
            code_version: self.parts.settings.code_version.clone(),
            worker: self.attempt.worker_name.clone(),
        };
        self.record_result(completed, stored, merged).await
    }

    /// Reports the result. While the report is under way it may become what the log refers to, so whoever is cancelled
    /// then leaves the files: if it was refused after all, the collector finds them.
    async fn record_result(
        &mut self,
        completed: AttemptReport,
        stored: artifact::Stored,
        merged: Option<artifact::Stored>,
    ) -> Result<(), AttemptOutcome> {
        let files: Vec<Unreferenced> = std::iter::once(stored)
            .chain(merged)
            .map(|stored| stored.unreferenced.may_be_referred_to())
            .collect();
        let recorded = self.reporter.report(completed).await;
        fail::fail_point!("job.result_recorded");
        if recorded.is_ok() {
            self.stored.all_released();
        }
        if recorded == Err(AttemptOutcome::TakenAway) {
            for files in files {
                files.take_back().await;
            }
        }
        recorded
    }

    /// Lets a process that has said its last word end by itself.
    async fn farewell(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.end(FAREWELL).await;
        }
    }

    /// Ends what is still at work, and waits for that.
    async fn dismiss(&mut self) {
        if let Some(copying) = self.copying.take() {
            copying.stop();
            // How it ended is of no interest any more.
            drop(copying.ended().await);
        }
        if let Some(mut child) = self.child.take() {
            child.ask_to_stop().await;
            child.end(GRACE).await;
        }
    }

    /// Records an end that is not recorded yet.
    async fn record(&self, end: AttemptOutcome) -> AttemptOutcome {
        let recorded = match &end {
            AttemptOutcome::Failed { code, message } => {
                self.reporter
                    .report(AttemptReport::Failed {
                        code: code.clone(),
                        message: message.clone(),
                    })
                    .await
            }
            AttemptOutcome::Interrupted { cause, counts } => {
                fail::fail_point!("job.before_interrupt");
                self.reporter.interrupt(cause.clone(), *counts).await
            }
            AttemptOutcome::Completed | AttemptOutcome::TakenAway => Ok(()),
        };
        match recorded {
            Ok(()) => end,
            Err(other) => other,
        }
    }
}
