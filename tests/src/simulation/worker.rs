//! Workers: they lease, train, report, save and complete; some stall past their lease and come back.
//!
//! The rule: the same steps, in the same order, on the same grounds as `workers::worker` and `workers::attempt`. The
//! training alone is made up.

use std::{rc::Rc, time::Duration};

use domain::{
    authz::Principal,
    event_store::StoreError,
    execute::Command,
    id::{JobId, WorkerId},
    jobs::{
        job::{Checkpoint, JobState},
        lease::{InterruptJob, LeaseJob},
        progress::{Batch, Point, ReportProgress},
        report::{AttemptReport, Report},
        requirements::WorkerCapabilities,
    },
    models::model::ModelFile,
};
use uuid::Uuid;
use workers::lease::queue::Lease;

use super::{
    environment::SimulatedEnvironment,
    process::{Answer, Process},
};

/// How long a worker may be silent.
pub(super) const LEASE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(150);
const STEPS: u32 = 6;
/// Steps per checkpoint.
const SAVE: u32 = 2;

/// The attempt is no longer this worker's: nothing more to record.
struct TakenAway;

struct Worker {
    process: Process,
    id: WorkerId,
}

struct Attempt {
    job: JobId,
    number: u32,
    from_step: u32,
    lease: Lease,
    claimed: bool,
    /// When the lease was last known to hold.
    proven: Duration,
}

/// Works until the run ends. A worker that was started anew is another worker.
pub(super) async fn work(environment: Rc<SimulatedEnvironment>, name: String) {
    let id = WorkerId(domain::id::Ids::next(environment.ids.as_ref()));
    let process = Process::start(&environment, &name);
    process.say(&format!("is worker {id}"));
    let worker = Worker { process, id };
    loop {
        match worker.take().await {
            Ok(Some(attempt)) => worker.attempt(attempt).await,
            Ok(None) | Err(_) => environment.tick(POLL).await,
        }
    }
}

impl Worker {
    fn environment(&self) -> &SimulatedEnvironment {
        &self.process.environment
    }

    /// Leases the first job of the queue, by a read model that may be behind.
    async fn take(&self) -> Result<Option<Attempt>, StoreError> {
        let waiting = self.environment().statement(|database| database.waiting()).await;
        for job in waiting.unwrap_or_default() {
            if let Some(attempt) = self.lease(job).await? {
                return Ok(Some(attempt));
            }
        }
        Ok(None)
    }

    async fn lease(&self, id: JobId) -> Result<Option<Attempt>, StoreError> {
        let job = self.process.job(id).await?;
        if job.state != JobState::Queued || job.order.is_none() {
            return Ok(None);
        }
        let command = LeaseJob {
            job: id,
            worker: self.id,
            worker_name: self.process.name.clone(),
            capabilities: WorkerCapabilities::default(),
        };
        self.process.run(&Principal::Worker(self.id), &command).await;
        // The log decides, whatever the answer was: it may have been lost on its way.
        let job = self.process.job(id).await?;
        let mine = job.state.is_leased() && job.worker == Some(self.id);
        Ok(mine.then(|| Attempt {
            job: id,
            number: job.attempt,
            from_step: job.checkpoint.map_or(0, |checkpoint| checkpoint.step),
            lease: Lease {
                job: id,
                attempt: job.attempt,
                worker: self.id,
                worker_name: self.process.name.clone(),
            },
            claimed: false,
            proven: self.environment().now(),
        }))
    }

    async fn attempt(&self, mut attempt: Attempt) {
        let (job, number) = (attempt.job, attempt.number);
        self.process.say(&format!(
            "begins {job}, attempt {number}, after step {}",
            attempt.from_step
        ));
        let end = self.train(&mut attempt).await;
        let how = match end {
            Ok(()) => "is done with",
            Err(TakenAway) => "has lost",
        };
        self.process.say(&format!("{how} {job}, attempt {number}"));
        let release = |database: &mut super::database::Database| database.release(job, number);
        if self.environment().statement(release).await.is_err() {
            self.process.say("leaves a lease to run out");
        }
    }

    async fn train(&self, attempt: &mut Attempt) -> Result<(), TakenAway> {
        let environment = self.environment();
        let started = AttemptReport::Started {
            from_step: attempt.from_step,
            total_steps: STEPS,
            trained_parameters: 1_000,
        };
        self.beat(attempt).await?;
        self.report(attempt, started).await?;
        for step in attempt.from_step + 1..=STEPS {
            environment.linger(Duration::from_millis(400)).await;
            // A worker that was stopped comes back here: its heart and its report race, as two threads do.
            if environment.chance(500) {
                self.beat(attempt).await?;
            }
            self.progress(attempt, step).await?;
            self.beat(attempt).await?;
            if step % SAVE == 0 && step < STEPS {
                self.report(attempt, AttemptReport::Checkpoint(checkpoint(attempt.job, step)))
                    .await?;
            }
            // Somebody wants it paused: the state is saved, and the job goes back.
            if self
                .process
                .job(attempt.job)
                .await
                .is_ok_and(|job| job.pausing.is_some())
            {
                if step < STEPS {
                    self.report(attempt, AttemptReport::Checkpoint(checkpoint(attempt.job, step)))
                        .await?;
                }
                return self.give_back(attempt, "the job is paused").await;
            }
            match environment.below(60) {
                0 => return self.fail(attempt).await,
                1 => return self.give_back(attempt, "the worker is shutting down").await,
                _ => {}
            }
        }
        self.report(attempt, completed(attempt.job, &self.process.name))
            .await
    }

    /// Claims or renews the lease. Who cannot prove for a whole lease time to be alive counts as lost.
    async fn beat(&self, attempt: &mut Attempt) -> Result<(), TakenAway> {
        let environment = self.environment();
        loop {
            let now = environment.now();
            let claimed = attempt.claimed;
            let lease = attempt.lease.clone();
            let answer = environment
                .statement(|database| match claimed {
                    true => database.beat(&lease, now, LEASE),
                    false => database.claim(&lease, now, LEASE),
                })
                .await;
            match answer {
                Ok(true) => {
                    attempt.claimed = true;
                    attempt.proven = now;
                    return Ok(());
                }
                Ok(false) => return Err(TakenAway),
                Err(_) if environment.now().saturating_sub(attempt.proven) >= LEASE => return Err(TakenAway),
                Err(_) => environment.sleep(RETRY).await,
            }
        }
    }

    async fn progress(&self, attempt: &mut Attempt, step: u32) -> Result<(), TakenAway> {
        let name = format!("{}/{}/{step}", attempt.job, attempt.number);
        let point = Point {
            step,
            loss: 1.0 / f64::from(step),
            learning_rate: 0.001,
            gradient_norm: 1.0,
            tokens_per_second: 100.0,
        };
        let command = ReportProgress {
            job: attempt.job,
            attempt: attempt.number,
            id: Uuid::new_v5(&attempt.job.0, name.as_bytes()),
            batch: Batch {
                step,
                total_steps: STEPS,
                points: vec![point],
                ..Batch::default()
            },
        };
        self.insist(attempt, &command).await
    }

    async fn report(&self, attempt: &mut Attempt, report: AttemptReport) -> Result<(), TakenAway> {
        let command = Report {
            job: attempt.job,
            attempt: attempt.number,
            report,
        };
        self.insist(attempt, &command).await
    }

    async fn fail(&self, attempt: &mut Attempt) -> Result<(), TakenAway> {
        let report = AttemptReport::Failed {
            code: "DIVERGED".to_owned(),
            message: "the loss is not a number".to_owned(),
        };
        self.report(attempt, report).await
    }

    async fn give_back(&self, attempt: &mut Attempt, cause: &str) -> Result<(), TakenAway> {
        let command = InterruptJob {
            job: attempt.job,
            attempt: attempt.number,
            cause: cause.to_owned(),
            counts: false,
        };
        self.insist(attempt, &command).await
    }

    /// Says it until there is an answer, as long as the lease holds.
    async fn insist<C: Command>(&self, attempt: &mut Attempt, command: &C) -> Result<(), TakenAway> {
        loop {
            match self.process.run(&Principal::Worker(self.id), command).await {
                Answer::Done => return Ok(()),
                Answer::Refused(_) | Answer::Denied(_) => {
                    self.environment().notes().stale += 1;
                    // Its own earlier report may be what makes it stale: then the log says that it is over.
                    return Err(TakenAway);
                }
                Answer::Unknown => {
                    self.environment().sleep(RETRY).await;
                    self.beat(attempt).await?;
                }
            }
        }
    }
}

fn checkpoint(job: JobId, step: u32) -> Checkpoint {
    Checkpoint {
        step,
        location: format!("{job}/{step}"),
        sha256: format!("hash-{step}"),
    }
}

fn completed(job: JobId, worker: &str) -> AttemptReport {
    let file = ModelFile {
        name: "model.safetensors".to_owned(),
        sha256: "f0".to_owned(),
        bytes: 77,
    };
    AttemptReport::Completed {
        merged: None,
        artifact: format!("models/{job}"),
        sha256: "hash".to_owned(),
        files: vec![file],
        metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
        code_version: "0.1.0".to_owned(),
        worker: worker.to_owned(),
    }
}
