//! A clock that jumps backwards while people and workers are at work (E2).

use anneal::verify::{Subject, verify};
use event_store::postgres::Evidence;
use serde_json::{Value, json};
use tests::harness::{Client, Feed, TestApp, TestOptions, app::PASSWORD};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// The same session with its next access token.
async fn refreshed(mut client: Client) -> Client {
    let document = "mutation($t: String!) { refresh(input: { refreshToken: $t }) { accessToken refreshToken userErrors { code } } }";
    // An expired token in the header would be refused before anybody looked at the other one.
    client.token = None;
    let answer = client.run(document, json!({ "t": client.refresh })).await;
    let granted = answer.data("refresh");
    let token = |name: &str| granted[name].as_str().map(str::to_owned);
    (client.token, client.refresh) = (token("accessToken"), token("refreshToken"));
    assert!(client.token.is_some(), "{answer:?}");
    client
}

/// AU-1: recorded times never run backwards; a job that is under way ends; who is signed in stays so.
#[tokio::test]
async fn a_clock_that_jumps_back_breaks_nothing() {
    let app = TestApp::start_with(TestOptions {
        workers: 1,
        ..TestOptions::default()
    })
    .await;
    let (dataset, experiment) = (app.admin.dataset("Text").await, app.admin.experiment().await);
    let corpus =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt")).expect("it ships");
    let uploaded = app
        .admin
        .upload(&dataset, "text.txt", corpus[..12_000].to_vec())
        .await;
    assert_eq!(uploaded.status, 201);
    let input = json!({
        "name": "Timeless", "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 600, "batchSize": 4, "sequenceLength": 32, "checkpointEvery": 100, "sampleTokens": 4 },
    });
    let document =
        "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } userErrors { message } } }";
    let started = app.admin.run(document, json!({ "i": input })).await;
    let job = started.data("startJob")["job"]["id"]
        .as_str()
        .expect("a job")
        .to_owned();
    let mut feed = Feed::of_job(&app.admin, &job, None).await;
    feed.until(|item| item["event"] == "jobs.JobStarted").await;

    // Not below the moment at which the token was made: a token from the future is no token.
    app.clock.advance(Duration::hours(-2));
    let admin = loop {
        let document = "mutation($i: LoginInput!) { login(input: $i) { accessToken } }";
        let input = json!({ "login": "root", "password": PASSWORD });
        let answer = app.client().run(document, json!({ "i": input })).await;
        // Tries from before the jump are paid for within moments, not within hours.
        if answer.code() != Some("RATE_LIMITED") {
            break app.client().login("root").await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    admin.dataset("Later, or earlier").await;
    let items = feed.to_end().await;
    let events: Vec<&Value> = items.iter().map(|item| &item["event"]).collect();
    assert!(events.contains(&&json!("jobs.JobCompleted")), "{events:?}");
    app.clock.advance(Duration::hours(3));
    // The access token lasts for minutes; the session, begun two hours before its own start, for days.
    let admin = refreshed(admin).await;
    admin.dataset("Later").await;

    let document = "{ auditLog(order: OLDEST_FIRST, first: 100) { nodes { at } } }";
    let log = admin.run(document, json!({})).await;
    let times: Vec<OffsetDateTime> = log.data("auditLog")["nodes"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|node| OffsetDateTime::parse(node["at"].as_str().expect("a time"), &Rfc3339).expect("a time"))
        .collect();
    assert!(times.is_sorted() && times.len() > 20, "{times:?}");
    let subject = Subject {
        url: &app.database_url,
        events: &app.database_url,
        objects: Ok(objects::testing::open(&app.data_dir.join("objects"))),
        data_dir: &app.data_dir,
        evidence: Evidence::default(),
        log_key: None,
        acknowledgements: None,
    };
    let report = verify(subject).await.expect("readable");
    assert!(report.is_whole(), "{report:?}");
}
