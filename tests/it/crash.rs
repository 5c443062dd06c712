//! The real binary, killed: what was acknowledged stays, the job finishes once, the log is whole (E1).

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tests::harness::{
    Client, Feed,
    app::{PASSWORD, program},
};

/// A running `anneal up`.
struct Anneal {
    process: Child,
    url: String,
}

fn start(data: &Path) -> Anneal {
    let mut process = Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args([
            "--set",
            "worker.lease_seconds=3",
            "--set",
            "worker.threads=1",
            "--set",
            "log.level=warn",
        ])
        .args(["--set", "auth.argon2_memory_kib=8192"])
        .env_remove("DATABASE_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the binary is built (cargo build -p anneal)");
    let output = process.stdout.take().expect("its output");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(url) = line.trim().strip_prefix("GraphQL ") {
                drop(sender.send(url.trim().trim_end_matches("/graphql").to_owned()));
            }
        }
    });
    let url = receiver
        .recv_timeout(Duration::from_secs(90))
        .expect("it says where it is");
    Anneal { process, url }
}

impl Anneal {
    /// As a power cut would end it.
    fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }

    /// As Ctrl-C ends it.
    fn stop(mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signalled");
        self.process.wait().expect("gone")
    }
}

fn verify(data: &Path) -> std::process::Output {
    let mut command = Command::new(program());
    command
        .args(["audit", "verify", "--json", "--data"])
        .arg(data)
        .env_remove("DATABASE_URL");
    command.output().expect("it runs")
}

async fn engineer(url: &str, data: &Path) -> Client {
    let token = std::fs::read_to_string(data.join("setup-token")).expect("a set-up token");
    let input = json!({
        "setupToken": token.trim(),
        "account": { "username": "root", "email": "root@example.org", "password": PASSWORD },
    });
    let query = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { userErrors { message } } }";
    Client::new(url.to_owned())
        .run(query, json!({ "i": input }))
        .await
        .data("createFirstAdministrator");
    Client::new(url.to_owned()).login("root").await
}

/// A job that was running when the server was killed finishes once, after two more kills.
#[tokio::test]
async fn a_killed_server_loses_nothing_and_the_job_finishes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let anneal = start(&data);
    let client = engineer(&anneal.url, &data).await;
    let (dataset, experiment) = (client.dataset("Text").await, client.experiment().await);
    let corpus =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt")).expect("it ships");
    assert_eq!(
        client
            .upload(&dataset, "corpus.txt", corpus[..40_000].to_vec())
            .await
            .status,
        201
    );
    let input = json!({
        "name": "Survivor", "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 6000, "batchSize": 4, "sequenceLength": 32, "checkpointEvery": 200, "sampleTokens": 4 },
    });
    let query =
        "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } position userErrors { message } } }";
    let started = client.run(query, json!({ "i": input })).await;
    let job = started.data("startJob")["job"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{started:?}"))
        .to_owned();

    let mut running = anneal;
    for _ in 0..2 {
        let client = Client::new(running.url.clone()).login("root").await;
        let mut feed = Feed::of_job(&client, &job, None).await;
        feed.until(|item| item["event"] == "jobs.CheckpointSaved").await;
        running.kill();
        running = start(&data);
    }
    let client = Client::new(running.url.clone()).login("root").await;
    Feed::of_job(&client, &job, None).await.to_end().await;
    let whole = Feed::of_job(&client, &job, Some("0")).await.to_end().await;
    let events: Vec<&str> = whole.iter().filter_map(|item| item["event"].as_str()).collect();
    assert_eq!(
        events.iter().filter(|event| **event == "jobs.JobQueued").count(),
        1
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| **event == "jobs.JobCompleted")
            .count(),
        1,
        "{events:?}"
    );
    assert_eq!(
        events.iter().filter(|event| **event == "jobs.JobLeased").count(),
        3,
        "{events:?}"
    );
    let steps: Vec<u64> = whole.iter().filter_map(|item| item["step"].as_u64()).collect();
    assert_eq!(steps.last(), Some(&6000));

    // A second start on the same folder is refused by name while this one runs.
    let second = Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env_remove("DATABASE_URL")
        .output()
        .expect("it runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&running.process.id().to_string()), "{said}");

    assert_whole(&data);
    assert!(running.stop().success(), "Ctrl-C ends it in order");
    assert_whole(&data);
}

/// The verifier works on a folder whose system is up as on one that is at rest.
fn assert_whole(data: &Path) {
    let verified = verify(data);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(
        (verified.status.code(), &report["ok"]),
        (Some(0), &json!(true)),
        "{report}"
    );
}

/// A folder without data is not made into one by looking at it.
#[tokio::test]
async fn a_verb_on_an_empty_folder_says_what_to_name() {
    let folder = tempfile::tempdir().expect("a folder");
    for data in [folder.path().to_owned(), folder.path().join("none")] {
        let output = verify(&data);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("holds no Anneal data") && said.contains("--data"),
            "{said}"
        );
    }
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0, "nothing was made");
}

/// A port in use is named, with what to do.
#[tokio::test]
async fn a_port_in_use_is_said_plainly() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(program())
        .args(["up", "--listen", &address, "--data"])
        .arg(folder.path().join("data"))
        .env_remove("DATABASE_URL")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&holder.local_addr().expect("an address").port().to_string())
            && said.contains("another port"),
        "{said}"
    );
}

/// OP-5: unknown keys and bad values are refused at start, all at once.
#[tokio::test]
async fn a_bad_configuration_is_refused_whole() {
    let output = Command::new(program())
        .args([
            "up",
            "--set",
            "http.adress=1",
            "--set",
            "worker.count=many",
            "--set",
            "auth.hashing_concurrency=0",
        ])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["http.adress", "worker.count", "auth.hashing_concurrency"] {
        assert!(said.contains(word), "{said}");
    }
}

/// PostgreSQL missing: the message names the package or the way around.
#[tokio::test]
async fn a_missing_postgresql_is_said_with_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .env_remove("DATABASE_URL")
        .env("ANNEAL_PG_BIN", folder.path())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("ANNEAL_PG_BIN") && said.contains("postgres"),
        "{said}"
    );
}
