//! The quota of GPU hours from outside (QU-1). A worker counts as one with a GPU when it has the label `cuda`.

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger, month},
    clock::{Clock, SystemClock},
    id::UserId,
};
use serde_json::{Value, json};
use tests::harness::{events::record, servers::WorkerProcess};

use super::fixture::Fixture;

const HOUR: u64 = 3_600_000;

/// Of the hundred hours that an engineer has in a month.
async fn use_up(fixture: &Fixture, milliseconds: u64) {
    let owner: UserId = fixture.engineer.user_id.parse().expect("an id");
    let taken = LedgerEvent::GpuTimeTaken {
        month: month(SystemClock.now()),
        milliseconds,
        item: "job_before/1".to_owned(),
    };
    record::<QuotaLedger>(&fixture.database.url, owner, &taken).await;
}

fn on_a_gpu(input: &mut Value) {
    input["requirements"] = json!({ "labels": ["cuda"] });
}

/// What a GPU was used for is counted; used up, it is refused by name, and what needs none waits for a processor.
#[tokio::test]
async fn used_up_gpu_hours_are_refused_and_processors_go_on() {
    let fixture = Fixture::new(0).await;
    let room = fixture.room.path().join("gpu");
    let worker = WorkerProcess::beside(&fixture.api.data, &room, &fixture.database.url).expect("a worker");
    let mut worker = worker.with("worker.labels=cuda");
    worker.start().expect("it starts");
    let job = fixture.start_with(60, on_a_gpu).await;
    fixture.until_state(&job, "COMPLETED").await;
    let log = "query($k: String!) { auditLog(filter: { kind: $k }, first: 10) { nodes { kind data } } }";
    let kind = json!({ "k": "access.GpuTimeTaken" });
    let told = fixture.admin.run(log, kind).await;
    let nodes = told.data("auditLog")["nodes"]
        .as_array()
        .expect("entries")
        .clone();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0]["data"]["item"], json!(format!("{job}/1")), "{nodes:?}");

    use_up(&fixture, 100 * HOUR).await;
    let mut input = json!({
        "name": "Another", "experimentId": fixture.experiment, "datasetId": fixture.text,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 60, "sequenceLength": 32 },
    });
    on_a_gpu(&mut input);
    let start =
        "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { code message } } }";
    let refused = fixture.engineer.run(start, json!({ "i": input })).await;
    assert_eq!(refused.user_codes("startJob"), ["QUOTA_EXCEEDED"]);
    let said = refused.data("startJob")["userErrors"][0]["message"].clone();
    let said = said.as_str().expect("a message");
    assert!(
        said.contains("GPU hours") && said.contains("100.0 of 100"),
        "{said}"
    );

    // Without that demand it is not refused, and waits for a worker without a GPU.
    let job = fixture.start(60).await;
    let row = fixture
        .until_job(&job, |row| !row["waitingReason"].is_null())
        .await;
    assert_eq!(row["state"], "QUEUED", "{row}");
    let reason = row["waitingReason"].as_str().expect("a reason");
    assert!(reason.contains("GPU hours"), "{row}");
    let _processor = fixture.worker();
    fixture.until_state(&job, "COMPLETED").await;
    fixture.api.stop().expect("it stops");
}

/// What is under way when the hours run out is interrupted with its state saved, and goes on where none are needed.
#[tokio::test]
async fn an_attempt_ends_when_the_gpu_hours_are_used_up_and_a_processor_goes_on() {
    let fixture = Fixture::new(0).await;
    let room = fixture.room.path().join("gpu");
    let beside = || WorkerProcess::beside(&fixture.api.data, &room, &fixture.database.url).expect("a worker");
    let mut with_a_gpu = beside().with("worker.labels=cuda");
    use_up(&fixture, 100 * HOUR - 8_000).await;
    with_a_gpu.start().expect("it starts");
    let job = fixture.start(1_000_000).await;
    let over = |row: &Value| !row["attempts"][0]["end"].is_null() && !row["waitingReason"].is_null();
    let row = fixture.until_job(&job, over).await;
    let told = |row: &Value, what: &str| row[what].as_str().map(str::to_owned);
    assert_eq!(row["state"], "QUEUED", "{row}");
    assert_eq!(row["attempts"].as_array().map(Vec::len), Some(1), "{row}");
    for said in [told(&row, "waitingReason"), told(&row["attempts"][0], "cause")] {
        let said = said.expect("a text");
        assert!(
            said.contains("GPU hours") && said.contains("100.0 of 100"),
            "{row}"
        );
    }
    let seconds = row["workerSeconds"].as_f64().expect("metered");
    assert!(seconds > 7.0, "it had what was left: {row}");
    let saved = row["checkpointStep"].as_u64().expect("a checkpoint");
    assert!(saved > 0, "{row}");
    with_a_gpu.stop().expect("it stops");

    let mut processor = beside();
    processor.start().expect("it starts");
    let further = |row: &Value| row["step"].as_u64() > Some(saved) && row["attempt"] == 2;
    let row = fixture.until_job(&job, further).await;
    assert_eq!(row["attempts"][1]["fromStep"].as_u64(), Some(saved), "{row}");
    fixture.cancel(&job).await;
    fixture.until_state(&job, "CANCELLED").await;
    fixture.api.stop().expect("it stops");
}
