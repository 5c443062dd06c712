//! Workers and queue as operators see them: processes of the real binary, metrics, what waits and for how long (JB-4,
//! JB-6, WK-2).

mod failures;
mod fixture;
mod gpu_hours;
mod machines;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use fixture::Fixture;

/// The number of a gauge, as Prometheus reads it.
fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// WK-2: what Prometheus reads is what is there: workers and open jobs by state, and it follows them.
#[tokio::test]
async fn gauges_count_workers_and_jobs_by_state() {
    let fixture = Fixture::new(1).await;
    let is = async |wanted: &[(&str, f64)]| {
        let what = format!("{wanted:?}");
        let look = async || {
            let metrics = fixture.metrics().await;
            wanted
                .iter()
                .all(|(name, count)| gauge(&metrics, name) == Some(*count))
                .then_some(())
        };
        fixture.until(&what, look).await;
    };
    is(&[
        ("workers{state=\"idle\"}", 1.0),
        ("workers{state=\"working\"}", 0.0),
        ("workers{state=\"lost\"}", 0.0),
        ("jobs{state=\"running\"}", 0.0),
        ("jobs{state=\"queued\"}", 0.0),
    ])
    .await;
    let jobs = [fixture.start(1_000_000).await, fixture.start(1_000_000).await];
    is(&[
        ("workers{state=\"idle\"}", 0.0),
        ("workers{state=\"working\"}", 1.0),
        ("jobs{state=\"running\"}", 1.0),
        ("jobs{state=\"queued\"}", 1.0),
    ])
    .await;
    for job in &jobs {
        fixture.cancel(job).await;
    }
    is(&[
        ("workers{state=\"idle\"}", 1.0),
        ("workers{state=\"working\"}", 0.0),
        ("jobs{state=\"running\"}", 0.0),
        ("jobs{state=\"queued\"}", 0.0),
    ])
    .await;
    fixture.api.stop().expect("it stops");
}

/// JB-6: who waits is told for how long, from what is under way and from how long jobs took; and nothing is made up.
#[tokio::test]
async fn the_start_of_a_waiting_job_is_estimated() {
    let fixture = Fixture::new(0).await;
    let job = fixture.start(400).await;
    let alone = fixture.job(&job).await;
    assert_eq!(
        alone["expectedStartSeconds"],
        Value::Null,
        "nobody would take it: {alone}"
    );
    assert_eq!(alone["waitingReason"], "no worker is there");
    let mut worker = fixture.worker();
    let done = fixture.until_state(&job, "COMPLETED").await;
    assert_eq!(
        done["expectedStartSeconds"],
        Value::Null,
        "it does not wait any more"
    );
    let usual = done["workerSeconds"].as_f64().expect("metered");

    let running = fixture.start(1_000_000).await;
    let look = async || fixture.job(&running).await["etaSeconds"].as_f64();
    fixture.until("an estimate of the end", look).await;
    let (second, third) = (fixture.start(1_000_000).await, fixture.start(1_000_000).await);
    let query = "query($a: ID!, $b: ID!, $c: ID!) { a: job(id: $a) { etaSeconds } \
                 b: job(id: $b) { queuePosition expectedStartSeconds waitingReason } \
                 c: job(id: $c) { queuePosition expectedStartSeconds } }";
    let seen = fixture
        .engineer
        .run(query, json!({ "a": running, "b": second, "c": third }))
        .await;
    let eta = seen.data("a")["etaSeconds"].as_f64().expect("an estimate");
    let (second, third) = (seen.data("b").clone(), seen.data("c").clone());
    assert_eq!(
        (
            &second["queuePosition"],
            &third["queuePosition"],
            &second["waitingReason"]
        ),
        (&json!(0), &json!(1), &Value::Null)
    );
    let [first, next] =
        [&second, &third].map(|job| job["expectedStartSeconds"].as_f64().expect("an estimate"));
    // Each field is read by itself, and a training that has just begun changes its mind from second to second.
    assert!((first / eta - 1.0).abs() < 0.5, "{first} of {eta}: {seen:?}");
    assert!(
        next > first * 0.5 + usual * 0.9,
        "{next} after {first} and {usual}: {seen:?}"
    );
    worker.kill().expect("killed");
    let look = async || {
        let row = fixture.job(&running).await;
        (row["state"] == "QUEUED"
            || !fixture
                .workers()
                .await
                .iter()
                .any(|one| one["state"] == "WORKING"))
        .then_some(())
    };
    fixture.until("the worker is missed", look).await;
    fixture.api.stop().expect("it stops");
}

/// WK-2: a worker that is not heard of is lost at once and given up after ten minutes; the log says so, and a job that it
/// had goes on elsewhere.
#[tokio::test]
async fn a_worker_that_is_gone_is_given_up_after_ten_minutes() {
    let fixture = Fixture::new(0).await;
    let mut killed = fixture.worker();
    let look = async || fixture.workers().await.first().cloned();
    let lost = fixture.until("a worker", look).await;
    killed.kill().expect("killed");
    let watching = fixture.worker();
    let state = async || {
        let all = fixture.workers().await;
        let found = all.iter().find(|one| one["id"] == lost["id"]).cloned();
        (all.len() == 2)
            .then(|| found.map(|one| one["state"].clone()))
            .flatten()
    };
    let look = async || state().await.filter(|state| *state == "LOST");
    fixture.until("it is lost", look).await;
    // Nine minutes are not enough, eleven are.
    let id = lost["id"].as_str().expect("an id");
    let uuid = format!("{}", id.parse::<domain::id::WorkerId>().expect("an id").0);
    let mut connection = PgConnection::connect(&fixture.database.url)
        .await
        .expect("a connection");
    let mut age = async |minutes: u32| {
        let statement = format!(
            "update jobs_worker_beat set beat_at = now() - interval '{minutes} minutes', \
             expires_at = now() - interval '{minutes} minutes' where worker_id = '{uuid}'"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await;
        assert_eq!(done.expect("updated").rows_affected(), 1);
    };
    age(9).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(state().await, Some(json!("LOST")), "not yet");
    age(11).await;
    let look = async || (fixture.workers().await.len() == 1).then_some(());
    fixture.until("it is given up", look).await;
    let log = "query($s: String!) { auditLog(filter: { subject: $s, kind: \"jobs.Worker\" }, order: OLDEST_FIRST, first: 10) \
               { nodes { kind actor data } } }";
    let told = fixture.admin.run(log, json!({ "s": id })).await;
    let nodes = told.data("auditLog")["nodes"]
        .as_array()
        .expect("entries")
        .clone();
    let kinds: Vec<&str> = nodes.iter().filter_map(|node| node["kind"].as_str()).collect();
    assert_eq!(kinds, ["jobs.WorkerRegistered", "jobs.WorkerEnded"], "{nodes:?}");
    assert_eq!(nodes[1]["data"]["how"], "lost", "{nodes:?}");
    drop(watching);
    fixture.api.stop().expect("it stops");
}

/// JB-4: a worker process that stands still past its lease and comes back writes nothing: its job was given to another,
/// which finished it, and the log is the same before and after.
#[tokio::test]
async fn a_worker_process_that_stood_still_past_its_lease_changes_nothing() {
    let fixture = Fixture::new(0).await;
    let stalled = fixture.worker();
    let job = fixture.start(3_000).await;
    let look = async || fixture.job(&job).await["step"].as_u64().filter(|step| *step > 40);
    fixture.until("it trains", look).await;
    stalled.signal_all(Signal::SIGSTOP).expect("stopped");
    let _other = fixture.worker_in(&fixture.room.path().join("other"));
    let done = fixture.until_state(&job, "COMPLETED").await;
    assert_eq!(
        (&done["attempt"], &done["attempts"][0]["end"]),
        (&json!(2), &json!("interrupted")),
        "{done}"
    );
    let before = fixture.feed(&job).await;
    stalled.signal_all(Signal::SIGCONT).expect("goes on");
    let look = async || stalled.trainers().expect("it lives").is_empty().then_some(());
    fixture.until("the stalled training is gone", look).await;
    // It is heard of again, and takes other jobs.
    let look = async || {
        let all = fixture.workers().await;
        (all.iter().filter(|one| one["state"] == "IDLE").count() == 2).then_some(())
    };
    fixture.until("both are there", look).await;
    assert_eq!(fixture.feed(&job).await, before);
    fixture.api.stop().expect("it stops");
}
