//! Pausing, restarting, limiting and scheduling jobs that a real engine trains, and draining its workers (JB-3,
//! JB-6, WK-2).

use std::{sync::Arc, time::Duration};

use domain::{
    clock::Clock,
    id::JobId,
    jobs::{
        control::{PauseJob, RestartJob, ResumeJob},
        job::{JobEvent, RestartFrom},
        requirements::JobRequirements,
        start::CancelJob,
        worker::DrainWorker,
    },
};
use projections::{
    history::AsOf,
    jobs::{job, queue, usage, worker},
    read_model::{self, Viewer},
};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    fixture::{Fixture, kinds},
    misbehaviour::script,
    process::{Process, Training},
};

/// Trains until it is stopped.
const ENDLESS: u32 = 1_000_000;

fn pause(job: JobId) -> PauseJob {
    PauseJob {
        job,
        reason: "others first".into(),
    }
}

/// Waits for an event of that name to be the last of the job.
async fn until_last(fixture: &Fixture, job: JobId, name: &str) -> Vec<JobEvent> {
    let began = Instant::now();
    loop {
        let history = fixture.history(job).await;
        if kinds(&history).last() == Some(&name) {
            return history;
        }
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "never {name}: {history:#?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn starts(history: &[JobEvent]) -> Vec<u32> {
    let start = |event: &JobEvent| match event {
        JobEvent::Started { from_step, .. } => Some(*from_step),
        _ => None,
    };
    history.iter().filter_map(start).collect()
}

fn newest_checkpoint(history: &[JobEvent]) -> Option<u32> {
    history.iter().rev().find_map(|event| match event {
        JobEvent::CheckpointSaved { checkpoint, .. } => Some(checkpoint.step),
        _ => None,
    })
}

/// JB-3: a paused training saves its state and gives its worker back; resumed, it goes on from exactly there, and its
/// result is that of an undisturbed training. That pausing takes less than two seconds is a figure of `tests/benches`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_training_gives_its_worker_back_and_goes_on_where_it_was() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let job = fixture.queue("same", 600, 1).await;
    fixture
        .until("a checkpoint", || fixture.has_checkpoint(job, 1))
        .await;
    let trainer = fixture.trainer(job).expect("it trains");
    let owner = fixture.owner().await;
    process.execute(&owner, &pause(job)).await.expect("paused");
    let history = until_last(&fixture, job, "Paused").await;
    assert!(fixture.is_gone(trainer), "the training is over before it is said");
    let saved = newest_checkpoint(&history).expect("its state is saved");
    // Its worker is free for others, and nobody takes it back.
    let other = fixture.queue("other", 20, 1).await;
    assert_eq!(kinds(&fixture.until_over(other).await).last(), Some(&"Completed"));
    assert_eq!(kinds(&fixture.history(job).await).last(), Some(&"Paused"));
    process
        .execute(&owner, &ResumeJob { job })
        .await
        .expect("resumed");
    let history = fixture.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    assert_eq!(starts(&history), [0, saved]);
    let undisturbed = fixture.queue("same", 600, 1).await;
    fixture.until_over(undisturbed).await;
    assert_eq!(fixture.result(job).await, fixture.result(undisturbed).await);
}

/// JB-3: a cancelled training is restarted, once from its checkpoint and once from scratch, under the same id, with
/// its attempts numbered on and readable; and what it used of workers is metered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_training_is_restarted_from_its_checkpoint_or_from_scratch() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let job = fixture.queue("again", ENDLESS, 1).await;
    let owner = fixture.owner().await;
    let cancel = CancelJob {
        job,
        reason: String::new(),
    };
    for (attempt, from) in [(1, RestartFrom::Checkpoint), (2, RestartFrom::Scratch)] {
        fixture
            .until("a checkpoint", || fixture.has_checkpoint(job, attempt))
            .await;
        let began = Instant::now();
        loop {
            let history = fixture.history(job).await;
            if starts(&history).len() == attempt as usize && newest_checkpoint(&history).is_some() {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "attempt {attempt} does not begin"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process.execute(&owner, &cancel).await.expect("cancelled");
        process
            .execute(&owner, &RestartJob { job, from })
            .await
            .expect("restarted");
    }
    fixture
        .until("the third attempt", || fixture.has_checkpoint(job, 3))
        .await;
    fixture.until_leased(job).await;
    process.execute(&owner, &cancel).await.expect("cancelled");
    let history = fixture.history(job).await;
    let starts = starts(&history);
    assert!(
        starts.len() == 3 && starts[0] == 0 && starts[1] > 0 && starts[2] == 0,
        "{starts:?}, {history:#?}, {:#?}",
        fixture.progress(job).await
    );
    let row = ended_row(&process, job).await;
    let ends: Vec<_> = row
        .attempts
        .iter()
        .map(|one| (one.number, one.end.as_deref()))
        .collect();
    assert_eq!(ends, [1, 2, 3].map(|number| (number, Some("cancelled"))));
    let metered: i64 = row.attempts.iter().filter_map(|one| one.milliseconds).sum();
    assert!(metered > 0 && row.worker_milliseconds == metered, "{row:#?}");
    let used = usage::of_user(&process.pool, AsOf::Now, row.owner_id)
        .await
        .expect("readable");
    assert_eq!(used.worker_milliseconds, metered);
    let used = usage::of_projects(&process.pool, AsOf::Now, &[row.project_id.expect("a training")])
        .await
        .expect("readable");
    assert_eq!(used[0].1.worker_milliseconds, metered);
}

/// The job as the read model has it, once all its three attempts have ended there.
async fn ended_row(process: &Process, job: JobId) -> job::JobRow {
    let began = Instant::now();
    loop {
        let everything = Viewer::everything(OffsetDateTime::UNIX_EPOCH);
        let found = read_model::find::<job::Jobs>(&process.pool, &everything, AsOf::Now, job.0)
            .await
            .expect("readable");
        if let Some(row) = found.filter(|row| row.state.is_final() && row.attempts.len() == 3) {
            return row;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the read model does not follow"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// JB-6: a job that has run as long as it may is failed by name, its checkpoint is kept, and a restart goes on from
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_too_long_is_failed_with_its_checkpoint_kept() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let _worker = process.worker(&fixture, Training::Real);
    let short = JobRequirements {
        max_run_seconds: Some(3),
        ..JobRequirements::default()
    };
    let job = fixture.queue_under("long", ENDLESS, 3, short).await;
    let history = fixture.until_over(job).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Failed { attempt: 1, code, .. }) if code == "RUN_TIME_USED_UP"),
        "{history:#?}"
    );
    let saved = newest_checkpoint(&history).expect("kept");
    let restart = RestartJob {
        job,
        from: RestartFrom::Checkpoint,
    };
    process
        .execute(&fixture.owner().await, &restart)
        .await
        .expect("restarted");
    let history = fixture.until_over(job).await;
    assert_eq!(starts(&history)[1], saved);
}

/// JB-6: one bad job cannot block the queue, even before all others: it is set aside by name, and they are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_job_before_all_others_does_not_block_them() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let poison = Training::Script(script(&fixture));
    let urgent = JobRequirements {
        priority: 10,
        ..JobRequirements::default()
    };
    let bad = fixture.queue_under("poison", 20, 3, urgent).await;
    let unreachable = JobRequirements {
        labels: ["no-such-label".to_owned()].into(),
        priority: 10,
        ..JobRequirements::default()
    };
    let waits = fixture.queue_under("waits", 20, 3, unreachable).await;
    let _worker = process.worker(&fixture, poison);
    let history = fixture.until_over(bad).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Failed { attempt: 3, code, .. }) if code == "ATTEMPTS_USED_UP"),
        "{history:#?}"
    );
    let after = fixture.queue("good", 20, 1).await;
    fixture.until_over(after).await;
    assert_eq!(kinds(&fixture.history(waits).await), ["Queued"]);
    let places = queue::places(&process.pool, AsOf::Now, &[waits])
        .await
        .expect("readable");
    let place = places.get(&waits).expect("it waits");
    let why = place.unfit.clone().expect("nobody fits");
    assert!(why.contains("no-such-label"), "{why}");
}

/// JB-6: a job goes to the worker that has what it demands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_to_the_worker_with_its_labels() {
    let fixture = Fixture::new().await;
    let plain = Process::start(&fixture).await;
    let _plain = plain.worker(&fixture, Training::Real);
    let fast = Process::start(&fixture).await.labelled(&["fast"]);
    let chosen = fast.worker(&fixture, Training::Real);
    let demanding = JobRequirements {
        labels: ["fast".to_owned()].into(),
        ..JobRequirements::default()
    };
    let job = fixture.queue_under("demanding", 20, 1, demanding).await;
    let history = fixture.until_over(job).await;
    let taken = history.iter().find_map(|event| match event {
        JobEvent::Leased { worker, .. } => Some(*worker),
        _ => None,
    });
    assert_eq!(taken, Some(chosen.id), "{history:#?}");
}

/// WK-2: workers declare themselves; an administrator drains one, its job goes on elsewhere, and it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_worker_gives_its_job_back_and_goes() {
    let fixture = Fixture::new().await;
    let process = Process::start(&fixture).await;
    let first = process.worker(&fixture, Training::Real);
    let job = fixture.queue("moves", 1_500, 1).await;
    fixture
        .until("a checkpoint", || fixture.has_checkpoint(job, 1))
        .await;
    let there = until_there(&process, 1).await;
    assert_eq!(
        (there[0].worker.id, there[0].job),
        (first.id, Some(job)),
        "{there:#?}"
    );
    assert_eq!(there[0].state(), worker::WorkerState::Working);
    assert!(there[0].worker.labels.contains("cpu") && there[0].worker.memory_bytes.is_some());
    let second = process.worker(&fixture, Training::Real);
    let drain = DrainWorker {
        worker: first.id,
        at_once: true,
        reason: "a new kernel".into(),
    };
    process
        .execute(&fixture.owner().await, &drain)
        .await
        .expect("drained");
    first.finished().await;
    let history = fixture.until_over(job).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Completed { attempt: 2, .. })),
        "{history:#?}"
    );
    let left = until_there(&process, 1).await;
    assert_eq!(left[0].worker.id, second.id);
}

async fn until_there(process: &Process, count: usize) -> Vec<worker::ActiveWorker> {
    let began = Instant::now();
    loop {
        let there = worker::there(&process.pool).await.expect("readable");
        if there.len() == count && there.iter().all(|one| one.alive) {
            return there;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{there:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A clock that is a year ahead.
struct ClockAhead;

impl Clock for ClockAhead {
    fn now(&self) -> OffsetDateTime {
        domain::clock::SystemClock.now() + time::Duration::days(365)
    }
}

/// JB-4: leases go by the database's clock: a worker whose own clock is a year ahead neither loses its job nor takes
/// one from another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumped_takes_no_job_from_anybody() {
    let fixture = Fixture::new().await;
    let ahead = Process::start(&fixture).await.at(Arc::new(ClockAhead));
    let _ahead = ahead.worker(&fixture, Training::Real);
    let job = fixture.queue("steady", 1_500, 1).await;
    fixture.until_leased(job).await;
    let right = Process::start(&fixture).await;
    let _right = right.worker(&fixture, Training::Real);
    let history = fixture.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    assert_eq!(starts(&history), [0], "it was done in one attempt");
}
