//! A worker: takes one job after the other.
//!
//! One rule: one job at a time, in the order of the queue; whatever goes wrong with one job or with the
//! database, the worker goes on with the others.

use std::{path::Path, time::Duration};

use domain::{
    aggregate::{Aggregate, LoadError, Loaded, load},
    authz::Principal,
    event_store::{Filter, Metadata, RecordedEvent, StoreError},
    execute::{ExecuteError, execute},
    id::{JobId, WorkerId},
    jobs::{
        job::{Job, JobState},
        lease::LeaseJob,
        requirements::WorkerCapabilities,
        worker::WorkerEnd,
    },
};
use projections::{feed::FeedSubscription, history::AsOf, jobs::queue, read_model::ReadError};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{self, Attempt, importing, outcome::AttemptOutcome},
    folders, reaper,
    registration::presence::{self, Presence},
    settings::WorkerParts,
};

/// Looks for waiting jobs at least this often.
const POLL: Duration = Duration::from_secs(3);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Time between two looks for folders of jobs that have ended.
const SWEEP: Duration = Duration::from_secs(3_600);

/// See the module.
pub struct Worker {
    id: WorkerId,
    name: String,
    capabilities: WorkerCapabilities,
    parts: WorkerParts,
    stop: CancellationToken,
    /// Cancelled when it shall take no more jobs.
    drain: CancellationToken,
    /// Cancelled when it shall give the job back that it has: also by `stop`.
    leave: CancellationToken,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its id, fresh with each start.
    pub id: WorkerId,
    /// Its name: host and device.
    pub name: String,
    task: JoinHandle<()>,
}

/// Says whether a worker still works.
#[derive(Clone, Debug)]
pub struct WorkerLiveness {
    name: String,
    task: AbortHandle,
}

impl WorkerLiveness {
    /// The worker's name, until it has ended: because the process ends, because it was drained, or by a panic.
    #[must_use]
    pub fn name_while_alive(&self) -> Option<&str> {
        (!self.task.is_finished()).then_some(self.name.as_str())
    }
}

impl WorkerHandle {
    /// What tells whether the worker still works.
    #[must_use]
    pub fn liveness(&self) -> WorkerLiveness {
        WorkerLiveness {
            name: self.name.clone(),
            task: self.task.abort_handle(),
        }
    }

    /// Waits until the worker has ended: after `stop` was cancelled, once its job has saved its state and
    /// is given back. That takes some ten seconds at most, plus what storing takes: of a result that was finished just
    /// then, or of the saved state, which has half a minute.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the worker did not end in order");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the job {0} could not be leased: {1}")]
    Lease(JobId, String),
    #[error("the log holds what this build cannot read or do about it: {0}")]
    Unreadable(String),
}

impl TakeError {
    /// Whether this one job is to blame, and others can be taken.
    fn blames_the_job(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Load(LoadError::Decode(_)))
    }
}

impl Worker {
    /// Starts a worker and a reaper of lost workers; both end when `stop` is cancelled, the worker after it
    /// has given its job back. Needs a running tokio runtime.
    #[must_use]
    pub fn start(mut parts: WorkerParts, stop: CancellationToken) -> WorkerHandle {
        // The child runs in a folder of its own, where a relative path would mean something else.
        if let Ok(absolute) = std::path::absolute(&parts.settings.folder) {
            parts.settings.folder = absolute;
        }
        let id = WorkerId(parts.ports.ids.next());
        let declaration = presence::declaration(&parts, id);
        let name = declaration.name.clone();
        drop(reaper::start(
            parts.ports.clone(),
            parts.pool.clone(),
            parts.settings.lease,
            stop.clone(),
        ));
        drop(tokio::spawn(sweep(parts.clone(), stop.clone())));
        let (drain, leave) = (stop.child_token(), stop.child_token());
        let presence = Presence {
            parts: parts.clone(),
            declaration: declaration.clone(),
            drain: drain.clone(),
            leave: leave.clone(),
        };
        let worker = Self {
            id,
            name: name.clone(),
            capabilities: declaration.capabilities(),
            parts,
            stop,
            drain,
            leave,
        };
        WorkerHandle {
            id,
            name,
            task: tokio::spawn(worker.live(presence)),
        }
    }

    /// Works until it is told to go, and says so.
    async fn live(self, presence: Presence) {
        let (gone, stop) = (CancellationToken::new(), self.stop.clone());
        let keep = async {
            presence.keep(&gone).await;
        };
        let work = async {
            self.work().await;
            gone.cancel();
        };
        tokio::join!(keep, work);
        let how = match stop.is_cancelled() {
            true => WorkerEnd::Stopped,
            false => WorkerEnd::Drained,
        };
        presence.end(how).await;
    }

    async fn work(self) {
        let kinds = [
            "jobs.JobQueued",
            "jobs.JobInterrupted",
            "jobs.JobResumed",
            "jobs.JobRestarted",
        ];
        let filter = Filter {
            stream_prefixes: vec![format!("{}-", Job::CATEGORY)],
            kind_prefixes: kinds.map(str::to_owned).to_vec(),
        };
        let mut feed = self.parts.feed.follow(self.parts.feed.head(), filter);
        let mut hint = None;
        tracing::info!(worker = %self.id, name = self.name, "the worker is ready");
        while !self.drain.is_cancelled() {
            match self.take(hint.take()).await {
                Ok(Some(attempt)) => self.run(attempt).await,
                Ok(None) => hint = self.wait(&mut feed).await,
                Err(error) => {
                    tracing::warn!(%error, "no job can be taken, trying again");
                    self.pause(RETRY).await;
                }
            }
        }
        tracing::info!(worker = %self.id, "the worker has ended");
    }

    /// Waits for something to do; answers with the job that is known to wait.
    async fn wait(&self, feed: &mut FeedSubscription) -> Option<JobId> {
        tokio::select! {
            () = self.drain.cancelled() => None,
            () = tokio::time::sleep(POLL) => None,
            event = feed.next() => match event {
                Ok(event) => job_of(&event),
                Err(error) => {
                    self.warn(&error).await;
                    None
                }
            },
        }
    }

    async fn warn(&self, error: &StoreError) {
        tracing::warn!(%error, "job events cannot be followed, trying again");
        self.pause(RETRY).await;
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Leases the first job of the queue that it can run. `hint`: a job that waits, which the read model may not
    /// know yet.
    async fn take(&self, hint: Option<JobId>) -> Result<Option<Attempt>, TakeError> {
        let waiting = queue::waiting(&self.parts.pool, AsOf::Now).await?;
        let hint = hint.filter(|hint| waiting.iter().all(|row| row.id != *hint));
        let fitting = waiting
            .iter()
            .filter(|row| self.capabilities.fit(row.kind, &row.requirements).is_ok());
        for job in fitting.map(|row| row.id).chain(hint) {
            match self.lease(job).await {
                Ok(Some(attempt)) => return Ok(Some(attempt)),
                Ok(None) => {}
                Err(error) if error.blames_the_job() => {
                    tracing::error!(%job, %error, "a job is left where it is, the others go on");
                    metrics::counter!("worker_jobs_unreadable_total").increment(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Leases one job; `None` when it does not wait or another worker was faster.
    async fn lease(&self, job: JobId) -> Result<Option<Attempt>, TakeError> {
        let store = self.parts.ports.store.as_ref();
        let recorded = load::<Job>(store, job).await?.state;
        if recorded.state != JobState::Queued || recorded.order.is_none() {
            return Ok(None);
        }
        let command = LeaseJob {
            job,
            worker: self.id,
            worker_name: self.name.clone(),
            capabilities: self.capabilities.clone(),
        };
        let principal = Principal::Worker(self.id);
        let meta = Metadata {
            actor: principal.actor(),
            correlation_id: Some(job.0),
            ..Metadata::default()
        };
        fail::fail_point!("lease.before_record");
        let outcome = execute(&self.parts.ports, &principal, &meta, &command).await;
        fail::fail_point!("lease.recorded");
        // The log decides, whatever the answer was: it may have been lost on its way.
        let leased = load(store, job).await?;
        match (self.attempt(job, leased), outcome) {
            (Some(attempt), _) => Ok(Some(attempt)),
            (None, Ok(_) | Err(ExecuteError::Busy)) => Ok(None),
            (None, Err(ExecuteError::Refused(why))) => {
                tracing::info!(%job, %why, "a job was not leased");
                Ok(None)
            }
            (None, Err(error @ (ExecuteError::Undecodable(_) | ExecuteError::Defect(_)))) => {
                Err(TakeError::Unreadable(error.to_string()))
            }
            (None, Err(error)) => Err(TakeError::Lease(job, error.to_string())),
        }
    }

    /// The attempt, if this worker has the job.
    fn attempt(&self, id: JobId, Loaded { state: job, last, .. }: Loaded<Job>) -> Option<Attempt> {
        let mine = job.state.is_leased() && job.worker == Some(self.id);
        let longest = job
            .order
            .as_ref()
            .and_then(|order| order.requirements.max_run_seconds);
        let left = longest.map(|seconds| {
            Duration::from_secs(seconds.into()).saturating_sub(Duration::from_millis(job.used))
        });
        Some(Attempt {
            left,
            gpu: self.capabilities.gpu(),
            floor: job.floor,
            pausing: job.pausing.is_some(),
            job: id,
            number: job.attempt,
            worker: self.id,
            worker_name: self.name.clone(),
            order: job.order.filter(|_| mine)?,
            checkpoint: job.checkpoint,
            stored: job.stored,
            imported: job.imported,
            since: last,
        })
    }

    async fn run(&self, attempt: Attempt) {
        let (job, number) = (attempt.job, attempt.number);
        tracing::info!(%job, attempt = number, "a job begins");
        let (began, running) = (Instant::now(), metrics::gauge!("worker_jobs_running"));
        running.increment(1.0);
        // In a task of its own, so that a defect costs this attempt and not the worker: its lease runs out.
        let task = tokio::spawn(attempt::run(self.parts.clone(), attempt, self.leave.clone()));
        let end = task.await.unwrap_or_else(AttemptOutcome::from);
        running.decrement(1.0);
        metrics::histogram!("worker_job_seconds", "end" => end.name()).record(began.elapsed().as_secs_f64());
        if let AttemptOutcome::Failed { code, .. } = &end {
            metrics::counter!("worker_job_failures_total", "code" => code.clone()).increment(1);
        }
        tracing::info!(%job, attempt = number, ?end, "a job ended");
        fail::fail_point!("job.before_tidy");
        tidy(&self.parts, job).await;
    }
}

fn job_of(event: &RecordedEvent) -> Option<JobId> {
    event.stream.key().parse().ok()
}

/// Removes what nobody needs of a job, if it has ended. What fails now is done by the next sweep.
async fn tidy(parts: &WorkerParts, job: JobId) {
    let recorded = match load::<Job>(parts.ports.store.as_ref(), job).await {
        Ok(Loaded { state, .. }) => state,
        Err(error) => return tracing::warn!(%job, %error, "the folder of a job is not tidied yet"),
    };
    let (state, latest) = (recorded.state, recorded.attempt);
    if !state.is_final() {
        return;
    }
    let imports = recorded.order.is_some_and(|order| order.import().is_some());
    if imports && state != JobState::Completed {
        // The folder stays until this is done, so that the next sweep comes back to it.
        if let Err(error) = importing::forget(&parts.objects, job, recorded.floor).await {
            return tracing::warn!(%job, %error, "files of an import without a model are not deleted yet");
        }
    }
    let folder = parts.settings.folder.clone();
    match tokio::task::spawn_blocking(move || folders::tidy(&folder, job, state, latest)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%job, %error, "the folder of a job is not tidied yet"),
        Err(error) => tracing::error!(%job, %error, "the folder of a job is not tidied yet"),
    }
}

/// Tidies up after jobs that ended while nobody worked on them.
async fn sweep(parts: WorkerParts, stop: CancellationToken) {
    loop {
        for job in folders_of(&parts.settings.folder).await {
            tidy(&parts, job).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

async fn folders_of(folder: &Path) -> Vec<JobId> {
    let owned = folder.to_owned();
    match tokio::task::spawn_blocking(move || folders::jobs(&owned)).await {
        Ok(Ok(jobs)) => jobs,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the folder of jobs cannot be read");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(%error, "the folder of jobs cannot be read");
            Vec::new()
        }
    }
}
