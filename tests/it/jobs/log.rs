//! The log of a job as a file, from outside (JB-5, JB-8).

use serde_json::{Value, json};
use tests::harness::{Client, Feed};

use super::{bench, scratch, with_worker};

async fn get(client: &Client, path: &str) -> (u16, Option<String>, String) {
    let request = client
        .request(reqwest::Method::GET, path)
        .bearer_auth(client.token.clone().expect("a token"));
    let response = request.send().await.expect("an answer");
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    (
        response.status().as_u16(),
        kind,
        response.text().await.expect("a body"),
    )
}

/// JB-5: it has every line that the feed has, in the same order; it can be gone on with; strangers do not find it.
#[tokio::test]
async fn the_log_of_a_job_is_downloaded_whole() {
    let app = with_worker().await;
    let bench = bench(&app).await;
    let mut order = scratch(12);
    order["parameters"]["samplePrompt"] = json!("Once\u{1b}[31m");
    let (job, _) = bench.start(&bench.text, order).await;
    Feed::of_job(&bench.engineer, &job, None).await.to_end().await;
    let seen = bench
        .engineer
        .run(
            "query($id: ID!) { job(id: $id) { logPath } }",
            json!({ "id": job }),
        )
        .await;
    let path = seen.data("job")["logPath"].as_str().expect("a path").to_owned();
    let (status, kind, text) = get(&bench.engineer, &path).await;
    assert_eq!((status, kind.as_deref()), (200, Some("application/x-ndjson")));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();

    let whole = Feed::of_job(&bench.engineer, &job, Some("0"))
        .await
        .to_end()
        .await;
    let mut expected = Vec::new();
    for item in &whole {
        let position = &item["position"];
        match item["__typename"].as_str() {
            Some("JobDelta") => expected.push((position.clone(), json!("event"), item["message"].clone())),
            Some("JobLogChunk") => {
                for line in item["lines"].as_array().expect("lines") {
                    expected.push((position.clone(), line["level"].clone(), line["message"].clone()));
                }
            }
            _ => {}
        }
    }
    let got: Vec<(Value, Value, Value)> = lines
        .iter()
        .map(|line| {
            (
                line["position"].clone(),
                line["level"].clone(),
                line["message"].clone(),
            )
        })
        .collect();
    assert_eq!(got, expected);
    let of = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert_eq!(of("sample"), 2, "one before and one after");
    assert!(of("event") >= 4, "{text}");

    let middle = &lines[lines.len() / 2]["position"];
    let after = format!("{path}?after={}", middle.as_str().expect("a position"));
    let rest: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains(&format!("\"position\":{middle}")))
        .skip_while(|line| line.contains(&format!("\"position\":{middle}")))
        .collect();
    assert!(!rest.is_empty(), "{text}");
    assert_eq!(
        get(&bench.engineer, &after).await.2.lines().collect::<Vec<_>>(),
        rest
    );
    let beyond = format!("{path}?after=99999999");
    assert_eq!(get(&bench.engineer, &beyond).await.2, "");

    let (_, kind, told) = get(&bench.engineer, &format!("{path}?format=text")).await;
    assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(
        told.lines().filter(|line| line.starts_with("20")).count(),
        lines.len(),
        "{told}"
    );
    // FR14: the prompt is kept as it is, and does nothing to a terminal.
    assert!(text.contains("Once\\u001b[31m"), "{text}");
    assert!(
        told.contains("Once\\u001b[31m") && !told.contains('\u{1b}'),
        "{told}"
    );
    assert!(
        told.lines().last().is_some_and(|line| line.contains("attempt 1")),
        "{told}"
    );

    let eve = app.person("eve", "engineer_i").await;
    let absent = "/api/jobs/job_00000000000000000000000000000001/log";
    let (hidden, missing) = (get(&eve, &path).await, get(&eve, absent).await);
    assert_eq!((hidden.0, missing.0), (404, 404));
    assert_eq!(hidden.1, missing.1);
    assert_eq!(get(&app.admin, &path).await.2, text, "an administrator reads it");
    let nobody = app.client();
    let refused = nobody.send(nobody.request(reqwest::Method::GET, &path)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(get(&bench.engineer, &format!("{path}?format=pdf")).await.0, 400);
    app.stop().await;
}
