//! Workers: jobs finish once, whatever happens to the processes that work on them (JB-3 to JB-6, WK-2).
//!
//! The rule: the real training engine trains, in processes of its own; a scripted one stands in only for
//! what the real one cannot be made to do.

mod control;
mod elsewhere;
mod fixture;
mod lost_answers;
mod misbehaviour;
mod process;

use std::{
    process::ExitCode,
    sync::{Arc, mpsc},
};

use domain::{
    authz::Principal,
    execute::ExecuteError,
    id::WorkerId,
    jobs::{
        job::JobEvent,
        lease::LeaseJob,
        progress::{Batch, ReportProgress},
        report::{AttemptReport, Report},
        requirements::WorkerCapabilities,
        start::CancelJob,
    },
};
use nix::sys::signal::Signal;

use fixture::{Fixture, kinds};
use process::{Process, Training};

/// No test of its own: the process that trains. The workers of these tests start this very program with the
/// name of this function and a job file; without a job file there is nothing to do.
#[test]
fn training_process() -> ExitCode {
    let file = std::env::args()
        .next_back()
        .filter(|last| last.ends_with("job.json"));
    file.map_or(ExitCode::SUCCESS, |file| ml::child::run(file.as_ref()))
}

/// JB-4: of two workers one gets the job, and it is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_workers_does_a_job() {
    let fixture = Fixture::new().await;
    let (first, second) = (Process::start(&fixture).await, Process::start(&fixture).await);
    let _workers = [
        first.worker(&fixture, Training::Real),
        second.worker(&fixture, Training::Real),
    ];
    let job = fixture.queue("once", 20, 3).await;
    let history = fixture.until_over(job).await;
    let expected = ["Queued", "Leased", "Started", "CheckpointSaved", "Completed"];
    assert_eq!(kinds(&history), expected, "{history:#?}");
}

/// JB-4: a killed training goes on from its checkpoint, finishes once, and its result is the one that an
/// undisturbed training has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_training_goes_on_from_its_checkpoint() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let killed = fixture.queue("same", 3_000, 3).await;
    fixture.until_saved(killed).await;
    let trainer = fixture.trainer(killed).expect("it trains");
    fixture.signal(trainer, Signal::SIGKILL);
    let history = fixture.until_over(killed).await;
    let cause = history.iter().find_map(|event| match event {
        JobEvent::Interrupted { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert!(
        cause.as_ref().is_some_and(|cause| cause.contains("signal 9")),
        "{cause:?}"
    );
    let starts: Vec<u32> = history
        .iter()
        .filter_map(|event| match event {
            JobEvent::Started { from_step, .. } => Some(*from_step),
            _ => None,
        })
        .collect();
    assert!(
        starts.len() == 2 && starts[0] == 0 && starts[1] >= 20,
        "{starts:?}"
    );
    assert_eq!(
        kinds(&history)
            .iter()
            .filter(|kind| **kind == "Completed")
            .count(),
        1
    );
    let undisturbed = fixture.queue("same", 3_000, 3).await;
    fixture.until_over(undisturbed).await;
    assert_eq!(fixture.result(killed).await, fixture.result(undisturbed).await);
}

/// JB-4, E2: a worker that stalls past its lease and comes back writes nothing and stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stalled_past_its_lease_writes_nothing_more() {
    let fixture = Arc::new(Fixture::new().await);
    let stalling = Stalling::start(fixture.clone());
    let job = fixture.queue("stalls", 1_500, 3).await;
    fixture
        .until("a checkpoint", || fixture.has_checkpoint(job, 1))
        .await;
    let trainer = fixture.trainer(job).expect("it trains");
    fixture.signal(trainer, Signal::SIGSTOP);
    let thaw = stalling.freeze();
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let history = fixture.until_over(job).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Completed { attempt: 2, .. })),
        "{history:#?}"
    );
    fixture.signal(trainer, Signal::SIGCONT);
    thaw.send(()).expect("it is frozen");
    let late = Report {
        job,
        attempt: 1,
        report: AttemptReport::Failed {
            code: "LATE".to_owned(),
            message: String::new(),
        },
    };
    let refused = process.execute(&Principal::Worker(stalling.worker), &late).await;
    assert!(matches!(refused, Err(ExecuteError::Denied(_))), "{refused:?}");
    fixture
        .until("the stalled training is gone", || fixture.is_gone(trainer))
        .await;
    stalling.end();
    assert_eq!(
        fixture.history(job).await,
        history,
        "the stalled worker wrote something"
    );
    fixture.assert_progress_in_order(job).await;
}

/// A process with a worker, all of it on one thread, so that blocking the thread stops all of it.
struct Stalling {
    worker: WorkerId,
    runtime: tokio::runtime::Handle,
    thread: std::thread::JoinHandle<()>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Stalling {
    fn start(fixture: Arc<Fixture>) -> Self {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let process = Process::start(&fixture).await;
                let worker = process.worker(&fixture, Training::Real);
                ready
                    .send((worker.id, tokio::runtime::Handle::current()))
                    .expect("somebody waits");
                stopped.await.expect("told to stop");
                process.drain();
                worker.finished().await;
            });
        });
        let (worker, runtime) = started.recv().expect("started");
        Self {
            worker,
            runtime,
            thread,
            stop,
        }
    }

    /// Stops everything of the process until something is sent.
    fn freeze(&self) -> mpsc::Sender<()> {
        let (thaw, frozen) = mpsc::channel();
        drop(self.runtime.spawn(async move { frozen.recv() }));
        thaw
    }

    fn end(self) {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("it ended in order");
    }
}

/// JB-3: cancelling ends the training and leaves a usable checkpoint. That it takes less than a second is a figure of
/// `tests/benches`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_training_is_gone_and_leaves_its_checkpoint() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let job = fixture.queue("endless", 1_000_000, 3).await;
    fixture
        .until("a checkpoint", || fixture.has_checkpoint(job, 1))
        .await;
    let trainer = fixture.trainer(job).expect("it trains");
    let owner = fixture.owner().await;
    let cancel = CancelJob {
        job,
        reason: "no longer needed".to_owned(),
    };
    process.execute(&owner, &cancel).await.expect("cancelled");
    fixture
        .until("the training is gone", || fixture.is_gone(trainer))
        .await;
    let history = fixture.history(job).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Cancelled { attempt: 1, .. })),
        "{history:#?}"
    );
    fixture
        .until("one checkpoint is left", || fixture.checkpoints(job, 1) == 1)
        .await;
    // The worker goes on with the next job.
    let next = fixture.queue("next", 20, 3).await;
    assert_eq!(kinds(&fixture.until_over(next).await).last(), Some(&"Completed"));
}

/// WK-2: a worker that is shut down saves the state, gives the job back, and another goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_job_goes_on_elsewhere_and_nothing_counts_against_it() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let worker = process.worker(&fixture, Training::Real);
    let job = fixture.queue("moves", 1_500, 1).await;
    fixture
        .until("a checkpoint", || fixture.has_checkpoint(job, 1))
        .await;
    process.drain();
    worker.finished().await;
    let history = fixture.history(job).await;
    let saved = history.iter().rev().find_map(|event| match event {
        JobEvent::CheckpointSaved { checkpoint, .. } => Some(checkpoint.step),
        _ => None,
    });
    assert_eq!(kinds(&history).last(), Some(&"Interrupted"), "{history:#?}");
    let other = Process::start(&fixture).await;
    let _worker = other.worker(&fixture, Training::Real);
    let history = fixture.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    let resumed = history.iter().rev().find_map(|event| match event {
        JobEvent::Started { from_step, .. } => Some(*from_step),
        _ => None,
    });
    assert_eq!(resumed, saved, "it goes on from the state that was saved last");
}

/// JB-5: a batch that is reported twice is recorded once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_is_recorded_once() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let job = fixture.queue("reported", 20, 3).await;
    let worker = fixture.fresh();
    let principal = Principal::Worker(worker);
    let lease = LeaseJob {
        job,
        worker,
        worker_name: "test".to_owned(),
        capabilities: WorkerCapabilities::default(),
    };
    process.execute(&principal, &lease).await.expect("leased");
    let batch = Batch {
        step: 5,
        total_steps: 20,
        ..Batch::default()
    };
    let report = ReportProgress {
        job,
        attempt: 1,
        id: fixture.uuid(),
        batch,
    };
    for _ in 0..3 {
        process
            .execute(&principal, &report)
            .await
            .expect("recorded once, and said so again");
    }
    assert_eq!(fixture.progress(job).await.len(), 1);
}
