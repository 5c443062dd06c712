//! A worker: takes one job after the other.
//!
//! One rule: one job at a time, the longest waiting first; whatever goes wrong with one job or with the
//! database, the worker goes on.

use std::{path::Path, time::Duration};

use domain::{
    aggregate::Aggregate,
    authz::Principal,
    event_store::{Filter, Metadata, RecordedEvent, StoreError},
    execute::{ExecuteError, execute},
    id::{JobId, WorkerId},
    jobs::{
        job::{Job, JobState},
        lease::LeaseJob,
    },
};
use projections::{access::directory::DirectoryError, feed::Follower, read_model::ReadError};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    end::End,
    folders,
    history::{self, HistoryError, RecordedJob},
    reaper,
    run::{self, Attempt},
    settings::WorkerParts,
};

/// Looks for waiting jobs at least this often.
const POLL: Duration = Duration::from_secs(3);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Waiting jobs that are looked at.
const LOOK: u32 = 16;
/// How long access rights may take to be up to date.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks for folders of jobs that have ended.
const SWEEP: Duration = Duration::from_secs(3_600);

/// See the module.
pub struct Worker {
    id: WorkerId,
    name: String,
    parts: WorkerParts,
    stop: CancellationToken,
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

impl WorkerHandle {
    /// Waits until the worker has ended: after `stop` was cancelled, once its job has saved its state and
    /// is given back. That takes some ten seconds at most, plus what storing a result takes that was
    /// finished just then.
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
    History(#[from] HistoryError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the job {0} could not be leased: {1}")]
    Lease(JobId, String),
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
        let name = format!("{}/cpu", host());
        drop(reaper::start(
            parts.ports.clone(),
            parts.pool.clone(),
            parts.settings.lease,
            stop.clone(),
        ));
        drop(tokio::spawn(sweep(parts.clone(), stop.clone())));
        let worker = Self {
            id,
            name: name.clone(),
            parts,
            stop,
        };
        WorkerHandle {
            id,
            name,
            task: tokio::spawn(worker.work()),
        }
    }

    async fn work(self) {
        let kinds = ["jobs.JobQueued", "jobs.JobInterrupted"];
        let filter = Filter {
            stream_prefixes: vec![format!("{}-", Job::CATEGORY)],
            kind_prefixes: kinds.map(str::to_owned).to_vec(),
        };
        let mut news = self.parts.feed.follow(self.parts.feed.head(), filter);
        let mut hint = None;
        tracing::info!(worker = %self.id, name = self.name, "the worker is ready");
        while !self.stop.is_cancelled() {
            match self.take(hint.take()).await {
                Ok(Some(attempt)) => self.run(attempt).await,
                Ok(None) => hint = self.wait(&mut news).await,
                Err(error) => {
                    tracing::warn!(%error, "no job can be taken, trying again");
                    self.pause(RETRY).await;
                }
            }
        }
        tracing::info!(worker = %self.id, "the worker has ended");
    }

    /// Waits for something to do; answers with the job that is known to wait.
    async fn wait(&self, news: &mut Follower) -> Option<JobId> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(POLL) => None,
            event = news.next() => match event {
                Ok(event) => job_of(&event),
                Err(error) => {
                    self.warn(&error).await;
                    None
                }
            },
        }
    }

    async fn warn(&self, error: &StoreError) {
        tracing::warn!(%error, "news about jobs cannot be followed, trying again");
        self.pause(RETRY).await;
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Leases the job that waits longest. `hint`: a job that waits, which the read model may not know yet.
    async fn take(&self, hint: Option<JobId>) -> Result<Option<Attempt>, TakeError> {
        let waiting = projections::jobs::job::waiting(&self.parts.pool, LOOK).await?;
        let mut jobs: Vec<JobId> = waiting.into_iter().map(|row| row.id).collect();
        jobs.extend(hint.filter(|hint| !jobs.contains(hint)));
        for job in jobs {
            if let Some(attempt) = self.lease(job).await? {
                return Ok(Some(attempt));
            }
        }
        Ok(None)
    }

    /// Leases one job; `None` when it does not wait or another worker was faster.
    async fn lease(&self, job: JobId) -> Result<Option<Attempt>, TakeError> {
        let store = self.parts.ports.store.as_ref();
        let recorded = history::job(store, job).await?.job;
        let Some(order) = recorded.order.filter(|_| recorded.state == JobState::Queued) else {
            return Ok(None);
        };
        self.parts.directory.at_head(PATIENCE).await?;
        let command = LeaseJob {
            job,
            worker: self.id,
            worker_name: self.name.clone(),
            // An account that is not there may do nothing.
            owner: self
                .parts
                .directory
                .user(order.owner)
                .unwrap_or(Principal::Anonymous),
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
        let leased = history::job(store, job).await?;
        match (self.attempt(job, leased), outcome) {
            (Some(attempt), _) => Ok(Some(attempt)),
            (None, Ok(_) | Err(ExecuteError::Busy)) => Ok(None),
            (None, Err(ExecuteError::Refused(why))) => {
                tracing::info!(%job, %why, "a job was not leased");
                Ok(None)
            }
            (None, Err(error)) => Err(TakeError::Lease(job, error.to_string())),
        }
    }

    /// The attempt, if this worker has the job.
    fn attempt(&self, id: JobId, RecordedJob { job, position }: RecordedJob) -> Option<Attempt> {
        let mine = job.state.is_leased() && job.worker == Some(self.id);
        Some(Attempt {
            job: id,
            number: job.attempt,
            worker: self.id,
            worker_name: self.name.clone(),
            order: job.order.filter(|_| mine)?,
            checkpoint: job.checkpoint,
            since: position,
        })
    }

    async fn run(&self, attempt: Attempt) {
        let (job, number) = (attempt.job, attempt.number);
        tracing::info!(%job, attempt = number, "a job begins");
        let (began, running) = (Instant::now(), metrics::gauge!("worker_jobs_running"));
        running.increment(1.0);
        // In a task of its own, so that a defect costs this attempt and not the worker: its lease runs out.
        let task = tokio::spawn(run::run(self.parts.clone(), attempt, self.stop.clone()));
        let end = task.await.unwrap_or_else(End::from);
        running.decrement(1.0);
        metrics::histogram!("worker_job_seconds", "end" => end.name()).record(began.elapsed().as_secs_f64());
        if let End::Failed { code, .. } = &end {
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
    let state = match history::job(parts.ports.store.as_ref(), job).await {
        Ok(recorded) => recorded.job.state,
        Err(error) => return tracing::warn!(%job, %error, "the folder of a job is not tidied yet"),
    };
    if !state.is_final() {
        return;
    }
    let folder = parts.settings.folder.clone();
    match tokio::task::spawn_blocking(move || folders::tidy(&folder, job, state)).await {
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

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown host".to_owned(),
        name => name.chars().take(64).collect(),
    }
}
