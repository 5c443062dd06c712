//! The live feed of a job, from outside: resumed from any position, over both ways, and for whom it is (GQ-4, GQ-5).

use std::time::Duration;

use serde_json::{Value, json};
use tests::harness::{Client, Feed, TestApp};

use super::{bench, kinds, scratch, with_worker};

fn positions(items: &[Value]) -> Vec<u64> {
    items
        .iter()
        .filter_map(|item| item["position"].as_str()?.parse().ok())
        .collect()
}

/// GQ-4: a feed goes on from any position, and both halves make the whole.
#[tokio::test]
async fn a_feed_resumes_without_gap_or_duplicate() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(60)).await;
    let mut first = Feed::of_job(&bench.engineer, &job, None).await;
    let seen = first.until(|item| item["event"] == "jobs.JobStarted").await;
    drop(first);
    let position = seen["position"].as_str().expect("a position").to_owned();
    let rest = Feed::of_job(&bench.engineer, &job, Some(&position))
        .await
        .to_end()
        .await;
    assert!(rest.iter().all(|item| item["__typename"] != "JobSnapshot"));
    let whole = Feed::of_job(&bench.engineer, &job, Some("0"))
        .await
        .to_end()
        .await;
    let from: u64 = position.parse().expect("a number");
    let expected: Vec<&Value> = whole
        .iter()
        .filter(|item| item["position"].as_str().and_then(|p| p.parse::<u64>().ok()) > Some(from))
        .collect();
    let got: Vec<&Value> = rest
        .iter()
        .filter(|item| item["__typename"] != "FeedHeartbeat")
        .collect();
    assert_eq!(got, expected);
    assert!(positions(&whole).windows(2).all(|pair| pair[0] <= pair[1]));
    let gap = Feed::of_job(&bench.engineer, &job, Some("999999999"))
        .await
        .to_end()
        .await;
    let names: Vec<&str> = gap
        .iter()
        .filter_map(|item| item["__typename"].as_str())
        .collect();
    assert_eq!(names, ["FeedGap", "JobSnapshot", "FeedEnd"]);
    app.stop().await;
}

/// Reads a whole event stream: the ids of its events, and the items they carry.
async fn event_stream(client: &Client, job: &str, last: Option<&str>) -> (Vec<String>, Vec<Value>) {
    let body = json!({ "query": tests::harness::feed::JOB_FEED, "variables": { "id": job } });
    let request = client
        .request(reqwest::Method::POST, "/graphql")
        .header("accept", "text/event-stream")
        .json(&body);
    let request = match last {
        Some(last) => request.header("last-event-id", last),
        None => request,
    };
    let answer = client.send(request).await;
    let text = answer
        .body
        .as_str()
        .unwrap_or_else(|| panic!("no event stream: {answer:?}"))
        .to_owned();
    let mut ids = Vec::new();
    let mut items = Vec::new();
    for line in text.lines() {
        if let Some(id) = line.strip_prefix("id:") {
            ids.push(id.trim().to_owned());
        }
        if let Some(data) = line.strip_prefix("data:").filter(|data| !data.trim().is_empty()) {
            let event: Value = serde_json::from_str(data).expect("JSON");
            items.push(event["data"]["jobFeed"].clone());
        }
    }
    (ids, items)
}

/// GQ-4, GQ-5: server-sent events carry positions as ids, and `Last-Event-ID` goes on after one.
#[tokio::test]
async fn a_feed_over_server_sent_events_resumes_by_its_last_id() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(30)).await;
    let (ids, items) = event_stream(&bench.engineer, &job, None).await;
    assert_eq!(items.last().expect("an end")["state"], "COMPLETED");
    assert_eq!(ids.len(), items.len(), "every item can be resumed after");
    let middle = ids[ids.len() / 2].clone();
    let (_, rest) = event_stream(&bench.engineer, &job, Some(&middle)).await;
    let from: u64 = middle.parse().expect("a position");
    let after = |item: &&Value| {
        let position = item["position"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok());
        item["__typename"] != "FeedHeartbeat" && position > Some(from)
    };
    assert_eq!(
        rest.iter().filter(after).collect::<Vec<_>>(),
        items.iter().filter(after).collect::<Vec<_>>()
    );
    let heartbeats = rest
        .iter()
        .filter(|item| item["__typename"] == "FeedHeartbeat")
        .count();
    assert_eq!(
        rest.iter().filter(after).count() + heartbeats,
        rest.len(),
        "{rest:?}"
    );
    assert_eq!(rest.last().expect("an end")["__typename"], "FeedEnd");
    app.stop().await;
}

/// GQ-4: strangers get no feed; a reader who loses access is put out.
#[tokio::test]
async fn a_feed_is_for_who_may_see_the_job() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(100_000)).await;
    let eve = app.person("eve", "engineer_i").await;
    let refused = Feed::of_job(&eve, &job, None)
        .await
        .next()
        .await
        .expect("an answer");
    assert!(refused.is_err_and(|error| error.to_string().contains("NOT_FOUND")));
    let mut feed = Feed::of_job(&bench.engineer, &job, None).await;
    feed.until(|item| item["__typename"] == "JobMetricBatch").await;
    bench
        .engineer
        .run("mutation { logout { userErrors { code } } }", json!({}))
        .await
        .data("logout");
    let cut_off = async {
        loop {
            if let Err(said) = feed.next().await.expect("a word before the end") {
                return said.to_string();
            }
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(60), cut_off).await;
    let said = said.expect("the feed goes on after logout");
    assert!(
        said.contains("UNAUTHENTICATED") || said.contains("FORBIDDEN"),
        "{said}"
    );
    let after = tokio::time::timeout(Duration::from_secs(60), feed.next()).await;
    assert!(
        !matches!(after, Ok(Some(Ok(_)))),
        "nothing comes after that: {after:?}"
    );
    app.stop().await;
}

const CANCEL: &str = "mutation($id: ID!) { cancelJob(input: { jobId: $id }) { userErrors { code } } }";

/// FA1: a feed shows nothing that was recorded after the rights to see it were gone, whichever comes first to the process.
#[tokio::test]
async fn a_feed_shows_nothing_recorded_after_the_rights_were_lost() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(5)).await;
    let mut feed = Feed::of_job(&bench.engineer, &job, None).await;
    let snapshot = feed.next().await.expect("a snapshot").expect("no error");
    assert_eq!(snapshot["__typename"], "JobSnapshot");
    let off = "mutation($u: ID!) { setUserActive(input: { userId: $u, active: false, reason: \"r\" }) { userErrors { code } } }";
    let switched_off = app.admin.run(off, json!({ "u": bench.engineer.user_id })).await;
    assert_eq!(switched_off.data("setUserActive")["userErrors"], json!([]));
    let cancelled = app.admin.run(CANCEL, json!({ "id": job })).await;
    assert_eq!(cancelled.data("cancelJob")["userErrors"], json!([]));
    while let Some(item) = feed.next().await {
        assert!(item.is_err(), "{item:?}");
    }
    app.stop().await;
}

/// FL2: the item that announces a snapshot is no place to go on from: whoever lost the connection there would miss the
/// snapshot.
#[tokio::test]
async fn a_gap_is_no_place_to_go_on_from() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(5)).await;
    let cancelled = bench.engineer.run(CANCEL, json!({ "id": job })).await;
    assert_eq!(cancelled.data("cancelJob")["userErrors"], json!([]));
    let (ids, items) = event_stream(&bench.engineer, &job, Some("999999999")).await;
    let names: Vec<&str> = items
        .iter()
        .filter_map(|item| item["__typename"].as_str())
        .collect();
    assert_eq!(names, ["FeedGap", "JobSnapshot", "FeedEnd"]);
    assert_eq!(items[0]["position"], "0", "nothing was delivered yet");
    let told: Vec<&str> = items[1..]
        .iter()
        .filter_map(|item| item["position"].as_str())
        .collect();
    assert_eq!(ids, told, "the gap has no id");
    let again = Feed::of_job(&bench.engineer, &job, Some("0"))
        .await
        .to_end()
        .await;
    assert!(
        kinds(&again).contains(&"jobs.JobCancelled"),
        "from the beginning: {again:?}"
    );
    app.stop().await;
}

/// FL2, FG4: events that a feed leaves out do not put off its heartbeat, and going on from a heartbeat misses nothing.
#[tokio::test]
async fn a_feed_that_leaves_events_out_has_heartbeats_to_go_on_from() {
    let app = TestApp::start().await;
    let bench = bench(&app).await;
    let (job, _) = bench.start(&bench.text, scratch(5)).await;
    let query = "subscription($id: ID!) { jobFeed(jobId: $id, include: [METRICS]) { __typename \
        ... on JobSnapshot { position } ... on FeedHeartbeat { position } } }";
    let mut feed = Feed::open(&bench.engineer, query, json!({ "id": job })).await;
    feed.until(|item| item["__typename"] == "JobSnapshot").await;
    let stirring = async {
        loop {
            for mutation in ["pauseJob", "resumeJob"] {
                let document = format!(
                    "mutation($id: ID!) {{ {mutation}(input: {{ jobId: $id }}) {{ userErrors {{ code }} }} }}"
                );
                let done = bench.engineer.run(&document, json!({ "id": job })).await;
                assert_eq!(done.data(mutation)["userErrors"], json!([]));
                tokio::time::sleep(Duration::from_millis(1_500)).await;
            }
        }
    };
    let beat = tokio::select! {
        beat = feed.until(|item| item["__typename"] == "FeedHeartbeat") => beat,
        () = stirring => unreachable!("it stirs for ever"),
        () = tokio::time::sleep(Duration::from_secs(45)) => panic!("no heartbeat came in 45 s"),
    };
    let position = beat["position"].as_str().expect("a position").to_owned();
    let cancelled = bench.engineer.run(CANCEL, json!({ "id": job })).await;
    assert_eq!(cancelled.data("cancelJob")["userErrors"], json!([]));
    let from: u64 = position.parse().expect("a number");
    let rest = Feed::of_job(&bench.engineer, &job, Some(&position))
        .await
        .to_end()
        .await;
    let whole = Feed::of_job(&bench.engineer, &job, Some("0"))
        .await
        .to_end()
        .await;
    let (mut seen, mut later) = (positions(&whole), positions(&whole));
    seen.retain(|position| *position <= from);
    later.retain(|position| *position > from);
    assert!(
        seen.len() > 4,
        "the feed passed over what it left out: {from}, {whole:?}"
    );
    assert_eq!(positions(&rest), later);
    app.stop().await;
}
