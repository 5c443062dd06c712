//! `anneal up`: time until it is ready, first and later, and the memory it holds.
//!
//! The yardstick of a start is the embedded PostgreSQL alone, started the same way in the same folder.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anneal::postgres::{Cluster, Options};
use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tests::harness::{Client, app::PASSWORD};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    crash,
    load::{Question, clients, drive},
    long_start,
    memory::{below, resident},
    numbers::{median, rounded},
    program,
    scale::Scale,
};

/// Fresh data folders.
const FOLDERS: usize = 3;
/// Later starts in each.
const LATER: usize = 2;
/// How long a start or a stop may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(5);
/// How long memory is left to settle before it is read.
const SETTLE: Duration = Duration::from_secs(2);
/// How long each kind of request is asked before memory is read again, and by how many.
const LOAD: (Duration, usize) = (Duration::from_secs(3), 16);

/// Starts it again and again.
pub(crate) async fn run(scale: Scale) -> Result<Value> {
    let (mut first, mut later) = (Starts::default(), Starts::default());
    let mut memory = Value::Null;
    for round in 0..FOLDERS {
        let alone = tempfile::tempdir()?;
        first.postgres.push(postgres(alone.path()).await?);
        let folder = tempfile::tempdir()?;
        first.measure(folder.path()).await?.stop().await?;
        for _ in 0..LATER {
            let running = later.measure(folder.path()).await?;
            if round + 1 == FOLDERS && memory.is_null() {
                memory = occupied(&running, folder.path()).await?;
            }
            running.stop().await?;
            later.postgres.push(postgres(&folder.path().join("data")).await?);
        }
    }
    let rows = [first.row("first"), later.row("later"), crash::run().await?];
    let long = long_start::run(scale).await?;
    Ok(
        json!({ "unit": "s from starting the program to /readyz 200", "rows": rows, "memory": memory, "long": long }),
    )
}

/// The bare database in the data folder `folder`, in seconds; stopped again.
pub(crate) async fn postgres(folder: &Path) -> Result<f64> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        let cluster = Cluster::start(&folder, &Options::default())?;
        let took = begun.elapsed().as_secs_f64();
        cluster.stop()?;
        Ok(took)
    })
    .await?
}

/// Starts of one kind, in seconds.
#[derive(Default)]
pub(crate) struct Starts {
    ready: Vec<f64>,
    said: Vec<f64>,
    /// Those of the yardstick.
    pub(crate) postgres: Vec<f64>,
}

impl Starts {
    /// Starts it once more.
    pub(crate) async fn measure(&mut self, folder: &Path) -> Result<Running> {
        let running = tokio::time::timeout(TIMEOUT, Running::start(folder))
            .await
            .context("it does not get ready")??;
        self.ready.push(running.took.as_secs_f64());
        self.said.push(running.said);
        Ok(running)
    }

    /// The row of the figure.
    pub(crate) fn row(&self, what: &str) -> Value {
        let (ready, postgres) = (median(self.ready.clone()), median(self.postgres.clone()));
        json!({
            "what": what,
            "starts": self.ready.len(),
            "ready_s": rounded(ready),
            "slowest_s": rounded(self.ready.iter().copied().fold(0.0, f64::max)),
            "said_s": rounded(median(self.said.clone())),
            "against": "the embedded PostgreSQL alone",
            "postgres_s": rounded(postgres),
            "ratio": rounded(ready / postgres),
        })
    }
}

/// A running system.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub(crate) url: String,
    /// Until `/readyz` answered 200.
    pub(crate) took: Duration,
    /// Seconds that it said itself.
    said: f64,
}

impl Running {
    /// Starts it with its data in `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let log = std::fs::File::create(folder.join("figures.log"))?;
        let begun = Instant::now();
        let mut child = Command::new(program::path())
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program::path().display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let said = after(&mut lines, "is ready after ").await?;
        let url = after(&mut lines, "Health")
            .await?
            .trim_end_matches("/readyz")
            .to_owned();
        let client = tests::harness::client::http().timeout(TIMEOUT).build()?;
        while !client
            .get(format!("{url}/readyz"))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(LOOK).await;
        }
        let took = begun.elapsed();
        let said = said
            .trim_end_matches(" s.")
            .parse()
            .with_context(|| format!("'{said}' is no time"))?;
        Ok(Self {
            child,
            lines,
            url,
            took,
            said,
        })
    }

    /// Its process.
    pub(crate) fn id(&self) -> Result<u32> {
        self.child.id().context("it has ended by itself")
    }

    /// Kills it.
    pub(crate) async fn killed(mut self) -> Result<()> {
        self.child.kill().await.context("it does not die")
    }

    /// Stops it in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.id()?)?), Signal::SIGINT)?;
        let ending = async {
            while self.lines.next_line().await?.is_some() {}
            self.child.wait().await
        };
        let status = tokio::time::timeout(TIMEOUT, ending)
            .await
            .context("it does not stop")??;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

/// What follows `words` in the first line that has them.
async fn after(lines: &mut Lines<BufReader<ChildStdout>>, words: &str) -> Result<String> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, rest)) = line.split_once(words) {
            return Ok(rest.trim().to_owned());
        }
    }
    anyhow::bail!("it ended without saying '{words}'")
}

/// Memory when nothing happens, and after requests.
async fn occupied(running: &Running, folder: &Path) -> Result<Value> {
    let process = running.id()?;
    let row = |what: &str| -> Result<Value> {
        Ok(
            json!({ "what": what, "resident_mib": rounded(resident(process)?), "below_mib": rounded(below(process)?) }),
        )
    };
    tokio::time::sleep(SETTLE).await;
    let mut rows = vec![row("idle")?];
    let administrator = administrator(&running.url, &folder.join("data")).await?;
    rows.push(row("after registration and login")?);
    let created = administrator
        .run(
            "mutation { createProject(input: { name: \"Load\" }) { project { id } userErrors { message } } }",
            json!({}),
        )
        .await;
    let project = created.data("createProject")["project"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let create = format!(
        "mutation {{ createExperiment(input: {{ projectId: \"{project}\", name: \"E\" }}) \
         {{ experiment {{ id }} userErrors {{ message }} }} }}"
    );
    let (time, connections) = LOAD;
    let clients = clients(connections)?;
    let mut requests = 0;
    for question in [
        Question::graphql("mutation", &administrator, &create, "\"userErrors\":[]")?,
        Question::graphql(
            "list",
            &administrator,
            "{ experiments(first: 25) { nodes { id name } } }",
            "\"nodes\":[{",
        )?,
    ] {
        requests += drive(&clients, time, &Arc::new(question)).await?.latencies.len();
    }
    drop(clients);
    tokio::time::sleep(SETTLE).await;
    rows.push(row(&format!("after {requests} requests"))?);
    Ok(json!({ "unit": "MiB", "rows": rows }))
}

/// The first administrator, signed in.
pub(crate) async fn administrator(url: &str, data: &Path) -> Result<Client> {
    let token = std::fs::read_to_string(data.join(anneal::system::SETUP_TOKEN_FILE))?;
    let input = json!({
        "setupToken": token.trim(),
        "account": { "username": "root", "email": "root@example.org", "password": PASSWORD },
    });
    let created = Client::new(url.to_owned())
        .run(
            "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { userErrors { message } } }",
            json!({ "i": input }),
        )
        .await;
    ensure!(
        created.data("createFirstAdministrator")["userErrors"] == json!([]),
        "refused: {created:?}"
    );
    Ok(Client::new(url.to_owned()).login("root").await)
}
