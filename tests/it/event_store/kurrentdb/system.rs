//! The whole system with its log in KurrentDB, and the verbs that need the log in PostgreSQL.

use anneal::{
    commands::audit,
    config::{Config, Sources},
};
use serde_json::json;
use tests::harness::{TestApp, TestOptions};

use super::peer::Peer;

fn config(events: &str) -> Result<Config, String> {
    let sources = Sources {
        file: None,
        environment: vec![("EVENT_STORE_URL".into(), events.into())],
        flags: Vec::new(),
        ..Sources::default()
    };
    Config::load(&sources).map_err(|problems| problems.to_string())
}

/// Not a line of the domain changes: people register, work and read the audit log, across a change of the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_system_runs_with_its_log_in_kurrentdb() {
    let peer = Peer::start(3).await;
    // The address is a secret, so no flag takes it.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events-url");
    std::fs::write(&file, peer.url()).expect("written");
    let app = TestApp::start_with(TestOptions {
        settings: vec![("events.url_file", file.display().to_string())],
        ..TestOptions::default()
    })
    .await;
    let ada = app.person("ada", "engineer_i").await;
    peer.set(|mode| mode.leader = 1);
    ada.experiment().await;
    // GQ-2: a repeated request happens once there, too.
    let create = "mutation { createProject(input: { name: \"Once\", clientRequestId: \"7d2f1a3c-0000-4000-8000-000000000001\" }) { position project { id } userErrors { code } } }";
    let sent = (0..4).map(|_| ada.run(create, json!({})));
    let answers = futures::future::join_all(sent).await;
    assert!(
        answers[0].data("createProject")["project"]["id"].is_string(),
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.body["data"] == answers[0].body["data"]),
        "{answers:#?}"
    );
    let log = app
        .admin
        .run("{ auditLog(first: 100) { nodes { kind } } }", json!({}))
        .await;
    let log = log.data("auditLog")["nodes"].to_string();
    for kind in ["identity.SessionOpened", "projects.ExperimentCreated"] {
        assert!(log.contains(kind), "{log}");
    }
    app.stop().await;
}

/// There is no chain to verify there, and the verb says so before it looks at anything.
#[tokio::test]
async fn verifying_the_chain_of_a_kurrentdb_is_refused_with_the_reason() {
    let config = config("kurrentdb://u:s3cret@127.0.0.1:1").expect("a configuration");
    let error = audit::verify(config, audit::VerifyOptions::default())
        .await
        .expect_err("refused");
    let text = format!("{error:#}");
    assert!(
        text.contains("PostgreSQL only") && text.contains("hash chain"),
        "{text}"
    );
    assert!(!text.contains("s3cret"));
}

/// A wrong scheme is answered with what is accepted, a useless address with how one is written.
#[test]
fn a_wrong_address_is_a_problem_of_the_configuration() {
    for (url, expected) in [
        ("mysql://u:s3cret@host/db", "kurrentdb+discover://"),
        ("kurrentdb://u:s3cret@host:port", "host:2113"),
        ("esdb://u:s3cret@host?tlsVerifyCert=false", "tlsCaFile"),
    ] {
        let problem = config(url).expect_err(url);
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains("s3cret"), "{problem}");
    }
    config("esdb+discover://events.example.org").expect("a configuration");
    config("postgres://user@host/database").expect("a configuration");
}
