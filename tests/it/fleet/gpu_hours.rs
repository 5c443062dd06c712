//! The quota of GPU hours from outside (QU-1). A worker counts as one with a GPU when it has the label `cuda`.

use domain::{
    access::quota::{LedgerEvent, QuotaLedger, month},
    clock::{Clock, SystemClock},
    id::UserId,
};
use serde_json::{Value, json};
use tests::harness::servers::WorkerProcess;

use super::ground::Ground;

fn on_a_gpu(input: &mut Value) {
    input["terms"] = json!({ "labels": ["cuda"] });
}

/// What a GPU was used for is counted; used up, it is refused by name, and what needs none waits for a processor.
#[tokio::test]
async fn used_up_gpu_hours_are_refused_and_processors_go_on() {
    let ground = Ground::new(0).await;
    let room = ground.room.path().join("gpu");
    let worker = WorkerProcess::beside(&ground.door.data, &room, &ground.database.url).expect("a worker");
    let mut worker = worker.with("worker.labels=cuda");
    worker.start().expect("it starts");
    let job = ground.start_with(60, on_a_gpu).await;
    ground.until_state(&job, "COMPLETED").await;
    let log = "query($k: String!) { auditLog(filter: { kind: $k }, first: 10) { nodes { kind data } } }";
    let kind = json!({ "k": "access.GpuTimeTaken" });
    let told = ground.admin.run(log, kind).await;
    let nodes = told.data("auditLog")["nodes"]
        .as_array()
        .expect("entries")
        .clone();
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0]["data"]["item"], json!(format!("{job}/1")), "{nodes:?}");

    // An engineer has a hundred hours in a month.
    let owner: UserId = ground.engineer.user_id.parse().expect("an id");
    let taken = LedgerEvent::GpuTimeTaken {
        month: month(SystemClock.now()),
        milliseconds: 100 * 3_600_000,
        item: "job_before/1".to_owned(),
    };
    ground.record::<QuotaLedger>(owner, &taken).await;
    let mut input = json!({
        "name": "Another", "experimentId": ground.experiment, "datasetId": ground.text,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 60, "sequenceLength": 32 },
    });
    on_a_gpu(&mut input);
    let start =
        "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { code message } } }";
    let refused = ground.engineer.run(start, json!({ "i": input })).await;
    assert_eq!(refused.user_codes("startJob"), ["QUOTA_EXCEEDED"]);
    let said = refused.data("startJob")["userErrors"][0]["message"].clone();
    let said = said.as_str().expect("a message");
    assert!(
        said.contains("GPU hours") && said.contains("100.0 of 100"),
        "{said}"
    );

    // Without that demand it is not refused, and waits for a worker without a GPU.
    let job = ground.start(60).await;
    let row = ground
        .until_job(&job, |row| !row["waitingReason"].is_null())
        .await;
    assert_eq!(row["state"], "QUEUED", "{row}");
    let reason = row["waitingReason"].as_str().expect("a reason");
    assert!(reason.contains("GPU hours"), "{row}");
    let _processor = ground.worker();
    ground.until_state(&job, "COMPLETED").await;
    ground.door.stop().expect("it stops");
}
