//! Pausing, moving, cloning, restarting and validating jobs, and the list of workers, from outside (JB-1, JB-3, JB-6,
//! WK-2).

use std::time::{Duration, Instant};

use domain::id::{ExperimentId, Ids as _, SystemIds};
use serde_json::{Value, json};
use tests::harness::{TestApp, TestOptions};

use super::{Bench, bench, scratch, with_worker};

const FIELDS: &str = "job { id name state pausing priority queuePosition waitingReason clonedFromId workerSeconds maxRunSeconds \
    requirements { labels memoryBytes } attempts { number end } } userErrors { code path message }";

impl Bench {
    /// Runs a mutation about jobs; its payload.
    async fn change(&self, mutation: &str, input_type: &str, input: Value) -> Value {
        let document = format!("mutation($i: {input_type}!) {{ {mutation}(input: $i) {{ {FIELDS} }} }}");
        self.engineer
            .run(&document, json!({ "i": input }))
            .await
            .data(mutation)
            .clone()
    }

    async fn until(&self, job: &str, state: &str) {
        let began = Instant::now();
        loop {
            let found = self.job(job).await;
            if found["state"] == state {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(90), "not {state}: {found}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// JB-3, JB-6: what waits can be paused, moved, resumed, cancelled, restarted and cloned, and says where it stands.
#[tokio::test]
async fn a_waiting_job_is_held_moved_and_copied() {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let bench = bench(&app).await;
    let (first, _) = bench.start(&bench.text, scratch(10)).await;
    let (second, _) = bench.start(&bench.text, scratch(10)).await;
    let moved = bench
        .change(
            "changeJobPriority",
            "ChangeJobPriorityInput",
            json!({ "jobId": first, "priority": -1 }),
        )
        .await;
    assert_eq!(
        (&moved["job"]["priority"], &moved["job"]["queuePosition"]),
        (&json!(-1), &json!(1)),
        "{moved}"
    );
    assert_eq!(moved["job"]["waitingReason"], "no worker is there");
    let paused = bench
        .change(
            "pauseJob",
            "PauseJobInput",
            json!({ "jobId": second, "reason": "later" }),
        )
        .await;
    assert_eq!(
        (&paused["job"]["state"], &paused["job"]["queuePosition"]),
        (&json!("PAUSED"), &Value::Null)
    );
    let resumed = bench
        .change("resumeJob", "ResumeJobInput", json!({ "jobId": second }))
        .await;
    assert_eq!(
        (&resumed["job"]["state"], &resumed["job"]["queuePosition"]),
        (&json!("QUEUED"), &json!(0))
    );
    let refused = bench
        .change(
            "restartJob",
            "RestartJobInput",
            json!({ "jobId": second, "from": "SCRATCH" }),
        )
        .await;
    assert_eq!(refused["userErrors"][0]["code"], "NOT_ENDED", "{refused}");
    let cancel =
        "mutation($i: CancelJobInput!) { cancelJob(input: $i) { job { state } userErrors { code } } }";
    bench
        .engineer
        .run(cancel, json!({ "i": { "jobId": second } }))
        .await;
    let refused = bench
        .change(
            "restartJob",
            "RestartJobInput",
            json!({ "jobId": second, "from": "CHECKPOINT" }),
        )
        .await;
    assert_eq!(refused["userErrors"][0]["code"], "NO_CHECKPOINT", "{refused}");
    let refused = bench
        .change("pauseJob", "PauseJobInput", json!({ "jobId": second }))
        .await;
    assert_eq!(refused["userErrors"][0]["code"], "ALREADY_ENDED", "{refused}");
    let restarted = bench
        .change(
            "restartJob",
            "RestartJobInput",
            json!({ "jobId": second, "from": "SCRATCH" }),
        )
        .await;
    assert_eq!(restarted["job"]["state"], "QUEUED", "{restarted}");
    let input = json!({ "jobId": first, "name": "Another", "parameters": { "steps": 0, "warmupSteps": 0 } });
    let refused = bench.change("cloneJob", "CloneJobInput", input).await;
    assert_eq!(
        refused["userErrors"][0]["path"],
        json!(["parameters", "steps"]),
        "{refused}"
    );
    let input = json!({ "jobId": first, "name": "Another", "requirements": { "labels": ["fast"], "maxRunSeconds": 60 } });
    let copy = bench.change("cloneJob", "CloneJobInput", input).await;
    assert_eq!(
        (&copy["job"]["name"], &copy["job"]["clonedFromId"]),
        (&json!("Another"), &json!(first)),
        "{copy}"
    );
    // As the first was ordered, not as it was moved since.
    assert_eq!(
        (&copy["job"]["priority"], &copy["job"]["maxRunSeconds"]),
        (&json!(0), &json!(60))
    );
    assert_eq!(copy["job"]["requirements"]["labels"], json!(["fast"]));
    app.stop().await;
}

/// JB-3: a job that runs is paused and resumed from outside, and the feed tells it; workers and times are listed.
#[tokio::test]
async fn a_running_job_is_paused_and_goes_on() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(100_000)).await;
    bench.until(&job, "RUNNING").await;
    while bench.job(&job).await["step"] == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let workers = "{ workers { nodes { id name host device memoryBytes version codeVersion engine labels state jobId jobAttempt lastHeartbeat } } }";
    let listed = bench.engineer.run(workers, json!({})).await;
    let worker = listed.data("workers")["nodes"][0].clone();
    assert_eq!(
        (&worker["state"], &worker["jobId"]),
        (&json!("WORKING"), &json!(job)),
        "{worker}"
    );
    assert_eq!(
        (&worker["device"], &worker["labels"]),
        (&json!("cpu"), &json!(["cpu"]))
    );
    bench
        .change("pauseJob", "PauseJobInput", json!({ "jobId": job }))
        .await;
    bench.until(&job, "PAUSED").await;
    let query = "query($id: ID!) { job(id: $id) { pausing workerSeconds checkpointStep attempts { number end workerSeconds } } }";
    let paused = bench
        .engineer
        .run(query, json!({ "id": job }))
        .await
        .data("job")
        .clone();
    assert_eq!(
        (&paused["pausing"], &paused["attempts"][0]["end"]),
        (&json!(false), &json!("paused")),
        "{paused}"
    );
    assert!(
        paused["workerSeconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0),
        "{paused}"
    );
    assert!(
        paused["checkpointStep"].as_i64().is_some_and(|step| step > 0),
        "{paused}"
    );
    bench
        .change("resumeJob", "ResumeJobInput", json!({ "jobId": job }))
        .await;
    bench.until(&job, "RUNNING").await;
    let drain = "mutation($i: DrainWorkerInput!) { drainWorker(input: $i) { position userErrors { code } } }";
    let input = json!({ "i": { "workerId": worker["id"], "atOnce": true } });
    let denied = bench.engineer.run(drain, input).await;
    assert_eq!(
        denied.body["errors"][0]["extensions"]["code"], "FORBIDDEN",
        "{denied:?}"
    );
    app.stop().await;
}

/// FG6: health names the workers that are there, not those that once were.
#[tokio::test]
async fn a_drained_worker_leaves_the_health_report() {
    let app = with_worker().await;
    let workers = async || {
        let health = app.client().request(reqwest::Method::GET, "/api/health");
        app.client().send(health).await.body["workers"].clone()
    };
    assert_eq!(workers().await.as_array().map(Vec::len), Some(1));
    let known = app.admin.run("{ workers { nodes { id } } }", json!({})).await;
    let worker = known.data("workers")["nodes"][0]["id"].clone();
    let drain = "mutation($i: DrainWorkerInput!) { drainWorker(input: $i) { userErrors { code } } }";
    let input = json!({ "i": { "workerId": worker, "atOnce": true } });
    let drained = app.admin.run(drain, input).await;
    assert_eq!(drained.data("drainWorker")["userErrors"], json!([]));
    let gone = async {
        while workers().await != json!([]) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), gone).await;
    assert!(waited.is_ok(), "still named: {}", workers().await);
    app.stop().await;
}

/// AC-6: an experiment of others is refused as one that is not there.
#[tokio::test]
async fn whether_an_experiment_of_others_exists_is_not_told() {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let bench = bench(&app).await;
    let eve = app.person("eve", "engineer_i").await;
    let ask = async |experiment: &str| {
        let mut input = scratch(10);
        input["experimentId"] = json!(experiment);
        input["datasetId"] = json!(bench.text);
        let problems = "problems { path code message }";
        let validated = format!("query($i: StartJobInput!) {{ validateJob(input: $i) {{ {problems} }} }}");
        let errors = "userErrors { path code message }";
        let started = format!("mutation($i: StartJobInput!) {{ startJob(input: $i) {{ {errors} }} }}");
        let validated = eve.run(&validated, json!({ "i": input })).await;
        let started = eve.run(&started, json!({ "i": input })).await;
        assert_eq!(
            started.data("startJob")["userErrors"][0]["path"],
            json!(["experimentId"])
        );
        (
            validated.data("validateJob").clone(),
            started.data("startJob").clone(),
        )
    };
    let nowhere = ExperimentId(SystemIds.next()).to_string();
    assert_eq!(ask(&bench.experiment).await, ask(&nowhere).await);
    app.stop().await;
}

/// JB-1: everything that is wrong is said at once, before and instead of queueing, with what the job would need.
#[tokio::test]
async fn an_order_is_validated_and_estimated_without_being_queued() {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let bench = bench(&app).await;
    let query = "query($i: StartJobInput!) { validateJob(input: $i) { valid problems { path code } \
        estimate { memoryBytes parameters trainedParameters tokens times { seconds } } } }";
    let ask = async |mut input: Value| {
        input["experimentId"] = json!(bench.experiment);
        input["datasetId"] = json!(bench.text);
        bench
            .engineer
            .run(query, json!({ "i": input }))
            .await
            .data("validateJob")
            .clone()
    };
    let good = ask(scratch(10)).await;
    assert_eq!(
        (&good["valid"], &good["problems"]),
        (&json!(true), &json!([])),
        "{good}"
    );
    // 300 · 32 + 32 · 32 + 12 · 32² + 13 · 32 + 2 · 32
    assert_eq!(good["estimate"]["parameters"], "23392");
    assert_eq!(good["estimate"]["tokens"], "640");
    assert_eq!(good["estimate"]["times"], json!([]), "nothing like it has run");
    let mut bad = scratch(0);
    bad["name"] = json!("");
    bad["datasetVersion"] = json!(9);
    bad["requirements"] = json!({ "labels": ["NO"], "maxRunSeconds": 0 });
    let bad = ask(bad).await;
    let mut paths: Vec<String> = bad["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| {
            problem["path"]
                .as_array()
                .expect("a path")
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(".")
        })
        .collect();
    paths.sort();
    let expected = [
        "datasetVersion",
        "name",
        "parameters.steps",
        "parameters.warmupSteps",
        "requirements.labels",
        "requirements.maxRunSeconds",
    ];
    assert_eq!(paths, expected, "{bad}");
    let jobs = bench.engineer.run("{ jobs { nodes { id } } }", json!({})).await;
    assert_eq!(jobs.data("jobs")["nodes"], json!([]));
    app.stop().await;
}

/// JB-8: a job that stopped early shows the steps that it did, of those it was to do.
#[tokio::test]
async fn a_job_that_stopped_early_shows_the_steps_it_did() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let mut input = scratch(500);
    input["parameters"]["evaluateEvery"] = json!(5);
    // No evaluation is better than the first by ten nats.
    input["parameters"]["earlyStopping"] = json!({ "patience": 2, "minDelta": 10.0 });
    let (job, _) = bench.start(&bench.text, input).await;
    bench.until(&job, "COMPLETED").await;
    let query = "query($id: ID!) { job(id: $id) { step totalSteps metrics { name value } } }";
    let seen = bench.engineer.run(query, json!({ "id": job })).await;
    let row = seen.data("job");
    let metrics = row["metrics"].as_array().expect("metrics");
    let steps = metrics
        .iter()
        .find(|metric| metric["name"] == "steps")
        .expect("steps");
    let (step, total) = (row["step"].as_u64().expect("a step"), row["totalSteps"].as_u64());
    assert!(step < 100 && total == Some(500), "{row}");
    assert_eq!(steps["value"], step.to_string(), "{row}");
    app.stop().await;
}
