//! FR18: a log whose time is ahead of the clock, because the clock was ahead once.

use reqwest::Method;
use serde_json::{Value, json};
use tests::harness::{Client, TestApp, people};
use time::{Duration, format_description::well_known::Rfc3339};

/// What readiness says of the log's time.
async fn log_time(client: &Client) -> (u16, Value) {
    let answer = client.send(client.request(Method::GET, "/readyz")).await;
    let dependencies = answer.body["dependencies"].as_array().expect("a list").clone();
    let found = dependencies.into_iter().find(|one| one["name"] == "logTime");
    (answer.status, found.expect("it is mentioned"))
}

/// How many projects there are as of `ago` before the present.
async fn projects(app: &TestApp, client: &Client, ago: Duration) -> usize {
    use domain::clock::Clock as _;
    let at = (app.clock.now() - ago).format(&Rfc3339).expect("a time");
    let query = "query($a: AsOf!) { projects(asOf: $a) { nodes { id } } }";
    let answer = client.run(query, json!({ "a": { "at": at } })).await;
    answer.data("projects")["nodes"]
        .as_array()
        .expect("projects")
        .len()
}

#[tokio::test]
async fn after_a_clock_that_was_ahead_the_present_is_the_head_and_operators_are_told() {
    let app = TestApp::start().await;
    let (status, before) = log_time(&app.client()).await;
    assert_eq!((status, &before["ok"]), (200, &json!(true)), "{before}");
    app.clock.advance(Duration::hours(2));
    let admin = app.client().login("root").await;
    let ada = people::person(&admin, &app.data_dir, "ada", "engineer_i").await;
    ada.experiment().await;
    app.clock.advance(Duration::hours(-2));
    // The brake on log-ins sees the clock set back as one period used up.
    app.client()
        .run(
            "mutation { login(input: { login: \"x\", password: \"x\" }) { userErrors { code } } }",
            json!({}),
        )
        .await;
    app.clock.advance(Duration::minutes(2));
    let ada = app.client().login("ada").await;
    ada.experiment().await;
    assert_eq!(
        projects(&app, &ada, Duration::ZERO).await,
        2,
        "what was recorded is there"
    );
    assert_eq!(
        projects(&app, &ada, Duration::seconds(3)).await,
        2,
        "a request is on its way for a while"
    );
    assert_eq!(
        projects(&app, &ada, Duration::minutes(1)).await,
        0,
        "by the times that events have"
    );
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await; // readiness looks once a second
    let (status, ahead) = log_time(&app.client()).await;
    assert_eq!((status, &ahead["ok"]), (200, &json!(false)), "{ahead}");
    let detail = ahead["detail"].as_str().expect("words");
    assert!(
        detail.contains("ahead of the clock") && detail.contains("NTP"),
        "{detail}"
    );
    app.clock.advance(Duration::hours(2));
    let ada = app.client().login("ada").await;
    ada.experiment().await;
    assert_eq!(projects(&app, &ada, Duration::ZERO).await, 3);
    assert_eq!(projects(&app, &ada, Duration::seconds(30)).await, 2);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(log_time(&app.client()).await.1["ok"], json!(true));
    app.stop().await;
}
