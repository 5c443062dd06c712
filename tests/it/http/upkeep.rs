//! FS7: what is measured does not pile up in a system whose numbers nobody reads.

use std::time::Duration;

use anneal::telemetry::UPKEEP;
use reqwest::Method;
use tests::harness::{Client, database, servers::ApiProcess};

/// The first to ask for the numbers of the real binary learns that their samples were folded before. What a round
/// does is tested where it stands, in `ops/src/telemetry.rs`.
#[tokio::test]
async fn a_running_system_folds_samples_before_anybody_asks() {
    let (database, room) = (database().await, tempfile::tempdir().expect("a folder"));
    let server = ApiProcess::start(room.path(), &database.url, &[])
        .await
        .expect("it starts");
    tokio::time::sleep(UPKEEP + Duration::from_secs(3)).await;
    let client = Client::new(server.url.clone());
    let answer = client.send(client.request(Method::GET, "/metrics")).await;
    let text = answer.body.as_str().expect("text").to_owned();
    let rounds = text
        .lines()
        .find_map(|line| line.strip_prefix("metrics_upkeeps_total "));
    let rounds: u64 = rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or_else(|| panic!("no round was counted:\n{text}"));
    assert!((1..10).contains(&rounds), "{rounds}");
    server.stop().expect("it ends in order, and the upkeep with it");
}
