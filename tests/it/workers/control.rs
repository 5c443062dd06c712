//! Pausing, restarting, limiting and scheduling jobs that a real engine trains, and draining its workers (JB-3,
//! JB-6, WK-2).

use std::{sync::Arc, time::Duration};

use domain::{
    clock::Clock,
    id::JobId,
    jobs::{
        control::{PauseJob, RestartJob, ResumeJob},
        job::{JobEvent, RestartFrom},
        start::CancelJob,
        terms::Terms,
        worker::DrainWorker,
    },
};
use projections::{
    history::Moment,
    jobs::{job, queue, usage, worker},
    paging::Viewer,
};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    ground::{Ground, kinds},
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
async fn until_last(ground: &Ground, job: JobId, name: &str) -> Vec<JobEvent> {
    let began = Instant::now();
    loop {
        let history = ground.history(job).await;
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

/// JB-3: a paused training saves its state and gives its worker back within two seconds; resumed, it goes on from
/// exactly there, and its result is that of an undisturbed training.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_training_gives_its_worker_back_and_goes_on_where_it_was() {
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let _worker = process.worker(&ground, Training::Real);
    let job = ground.queue("same", 600, 1).await;
    ground
        .until("a checkpoint", || ground.has_checkpoint(job, 1))
        .await;
    let trainer = ground.trainer(job).expect("it trains");
    let owner = ground.owner().await;
    process.execute(&owner, &pause(job)).await.expect("paused");
    let asked = Instant::now();
    let history = until_last(&ground, job, "Paused").await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(ground.is_gone(trainer), "the training is over before it is said");
    let saved = newest_checkpoint(&history).expect("its state is saved");
    // Its worker is free for others, and nobody takes it back.
    let other = ground.queue("other", 20, 1).await;
    assert_eq!(kinds(&ground.until_over(other).await).last(), Some(&"Completed"));
    assert_eq!(kinds(&ground.history(job).await).last(), Some(&"Paused"));
    process
        .execute(&owner, &ResumeJob { job })
        .await
        .expect("resumed");
    let history = ground.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    assert_eq!(starts(&history), [0, saved]);
    let undisturbed = ground.queue("same", 600, 1).await;
    ground.until_over(undisturbed).await;
    assert_eq!(ground.result(job).await, ground.result(undisturbed).await);
}

/// JB-3: a cancelled training is restarted, once from its checkpoint and once from scratch, under the same id, with
/// its attempts numbered on and readable; and what it used of workers is metered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_training_is_restarted_from_its_checkpoint_or_from_scratch() {
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let _worker = process.worker(&ground, Training::Real);
    let job = ground.queue("again", ENDLESS, 1).await;
    let owner = ground.owner().await;
    let cancel = CancelJob {
        job,
        reason: String::new(),
    };
    for (attempt, from) in [(1, RestartFrom::Checkpoint), (2, RestartFrom::Scratch)] {
        ground
            .until("a checkpoint", || ground.has_checkpoint(job, attempt))
            .await;
        let began = Instant::now();
        loop {
            let history = ground.history(job).await;
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
    ground
        .until("the third attempt", || ground.has_checkpoint(job, 3))
        .await;
    ground.until_leased(job).await;
    process.execute(&owner, &cancel).await.expect("cancelled");
    let history = ground.history(job).await;
    let starts = starts(&history);
    assert!(
        starts.len() == 3 && starts[0] == 0 && starts[1] > 0 && starts[2] == 0,
        "{starts:?}, {history:#?}, {:#?}",
        ground.progress(job).await
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
    let used = usage::of_user(&process.pool, Moment::Now, row.owner_id)
        .await
        .expect("readable");
    assert_eq!(used.worker_milliseconds, metered);
    let used = usage::of_project(&process.pool, Moment::Now, row.project_id)
        .await
        .expect("readable");
    assert_eq!(used.worker_milliseconds, metered);
}

/// The job as the read model has it, once all its three attempts have ended there.
async fn ended_row(process: &Process, job: JobId) -> job::JobRow {
    let began = Instant::now();
    loop {
        let found = job::find(&process.pool, Moment::Now, Viewer::Everything, job)
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
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let _worker = process.worker(&ground, Training::Real);
    let short = Terms {
        max_run_seconds: Some(3),
        ..Terms::default()
    };
    let job = ground.queue_under("long", ENDLESS, 3, short).await;
    let history = ground.until_over(job).await;
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
        .execute(&ground.owner().await, &restart)
        .await
        .expect("restarted");
    let history = ground.until_over(job).await;
    assert_eq!(starts(&history)[1], saved);
}

/// JB-6: one bad job cannot block the queue, even before all others: it is set aside by name, and they are done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_job_before_all_others_does_not_block_them() {
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let poison = Training::Script(script(&ground));
    let urgent = Terms {
        priority: 10,
        ..Terms::default()
    };
    let bad = ground.queue_under("poison", 20, 3, urgent).await;
    let unreachable = Terms {
        labels: ["no-such-label".to_owned()].into(),
        priority: 10,
        ..Terms::default()
    };
    let waits = ground.queue_under("waits", 20, 3, unreachable).await;
    let _worker = process.worker(&ground, poison);
    let history = ground.until_over(bad).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Failed { attempt: 3, code, .. }) if code == "ATTEMPTS_USED_UP"),
        "{history:#?}"
    );
    let after = ground.queue("good", 20, 1).await;
    ground.until_over(after).await;
    assert_eq!(kinds(&ground.history(waits).await), ["Queued"]);
    let place = queue::place(&process.pool, Moment::Now, waits)
        .await
        .expect("readable");
    let why = place.expect("it waits").unfit.expect("nobody fits");
    assert!(why.contains("no-such-label"), "{why}");
}

/// JB-6: a job goes to the worker that has what it demands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_to_the_worker_with_its_labels() {
    let ground = Ground::new().await;
    let plain = Process::start(&ground).await;
    let _plain = plain.worker(&ground, Training::Real);
    let fast = Process::start(&ground).await.labelled(&["fast"]);
    let chosen = fast.worker(&ground, Training::Real);
    let demanding = Terms {
        labels: ["fast".to_owned()].into(),
        ..Terms::default()
    };
    let job = ground.queue_under("demanding", 20, 1, demanding).await;
    let history = ground.until_over(job).await;
    let taken = history.iter().find_map(|event| match event {
        JobEvent::Leased { worker, .. } => Some(*worker),
        _ => None,
    });
    assert_eq!(taken, Some(chosen.id), "{history:#?}");
}

/// WK-2: workers declare themselves; an administrator drains one, its job goes on elsewhere, and it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_worker_gives_its_job_back_and_goes() {
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let first = process.worker(&ground, Training::Real);
    let job = ground.queue("moves", 1_500, 1).await;
    ground
        .until("a checkpoint", || ground.has_checkpoint(job, 1))
        .await;
    let there = until_there(&process, 1).await;
    assert_eq!(
        (there[0].worker.id, there[0].job),
        (first.id, Some(job)),
        "{there:#?}"
    );
    assert_eq!(there[0].state(), worker::WorkerState::Working);
    assert!(there[0].worker.labels.contains("cpu") && there[0].worker.memory_bytes.is_some());
    let second = process.worker(&ground, Training::Real);
    let drain = DrainWorker {
        worker: first.id,
        at_once: true,
        reason: "a new kernel".into(),
    };
    process
        .execute(&ground.owner().await, &drain)
        .await
        .expect("drained");
    first.finished().await;
    let history = ground.until_over(job).await;
    assert!(
        matches!(history.last(), Some(JobEvent::Completed { attempt: 2, .. })),
        "{history:#?}"
    );
    let left = until_there(&process, 1).await;
    assert_eq!(left[0].worker.id, second.id);
}

async fn until_there(process: &Process, count: usize) -> Vec<worker::Present> {
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
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> OffsetDateTime {
        domain::clock::SystemClock.now() + time::Duration::days(365)
    }
}

/// JB-4: leases go by the database's clock: a worker whose own clock is a year ahead neither loses its job nor takes
/// one from another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumped_takes_no_job_from_anybody() {
    let ground = Ground::new().await;
    let ahead = Process::start(&ground).await.at(Arc::new(Ahead));
    let _ahead = ahead.worker(&ground, Training::Real);
    let job = ground.queue("steady", 1_500, 1).await;
    ground.until_leased(job).await;
    let right = Process::start(&ground).await;
    let _right = right.worker(&ground, Training::Real);
    let history = ground.until_over(job).await;
    assert_eq!(kinds(&history).last(), Some(&"Completed"), "{history:#?}");
    assert_eq!(starts(&history), [0], "it was done in one attempt");
}

/// Seconds of processor time that this process has used, its children not counted.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
    let ticks = |nth: usize| -> f64 {
        let field = fields.split_whitespace().nth(nth).expect("a field");
        field.parse().expect("a number")
    };
    // utime and stime, in hundredths.
    (ticks(11) + ticks(12)) / 100.0
}

/// JB-5: what reporting costs beside the training, as processor time of the worker's process, less what it uses
/// when it has nothing to do. To be run alone.
#[ignore = "a measurement; cargo xtask peers telemetry runs it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_costs_a_hundredth_of_the_training_at_most() {
    const LONG: Duration = Duration::from_secs(20);
    let ground = Ground::new().await;
    let process = Process::start(&ground).await;
    let _worker = process.worker(&ground, Training::Real);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = async || {
        let (began, before) = (Instant::now(), processor_seconds());
        tokio::time::sleep(LONG).await;
        (processor_seconds() - before) / began.elapsed().as_secs_f64()
    };
    let idle = used().await;
    let job = ground.queue("endless", ENDLESS, 1).await;
    ground
        .until("a checkpoint", || ground.has_checkpoint(job, 1))
        .await;
    let events = ground.progress(job).await.len() + ground.history(job).await.len();
    let busy = used().await;
    let events = ground.progress(job).await.len() + ground.history(job).await.len() - events;
    let share = busy - idle;
    println!(
        "idle {idle:.4}, training {busy:.4}: reporting takes {:.2} % of one training thread; {:.2} events a second",
        share * 100.0,
        events as f64 / LONG.as_secs_f64()
    );
    assert!(
        events as f64 / LONG.as_secs_f64() < 4.0,
        "JB-5: a few events a second"
    );
}
