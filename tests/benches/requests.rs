//! Requests per second: a static route, scalar and list queries, mutations, and the bare event store, in turns.
//!
//! Queries are compared with the static route, mutations with appends to the bare event store by as many
//! callers. Beside each query is what the libraries alone take for the like. The client runs on the same cores and is part of all figures of HTTP.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use domain::clock::SystemClock;
use event_store::postgres::{PostgresEventStore, Settings, address};
use serde_json::{Value, json};
use tests::harness::{Client, database};
use tokio::runtime::Runtime;

use crate::{
    appends, application,
    cpu::{self, Cpu},
    library,
    load::{Load, Question, clients, drive},
    numbers::{median, percentile, rounded},
};

/// Connections that ask at the same time.
const CONNECTIONS: [usize; 2] = [16, 64];
/// Rounds; in each, everything has its turn.
const ROUNDS: usize = 3;
/// How long a turn takes.
const TURN: Duration = Duration::from_millis(1_500);
/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Who makes changes at the same time, each in a project of their own.
const OWNERS: usize = 64;
/// Rows of the lists.
const ROWS: usize = 25;

const STATIC: &str = "static route";
const SCALAR: &str = "scalar query";
const ONE_ROW: &str = "one row";
const LIST: &str = "list of 25";
const MUTATION: &str = "mutation";
const APPENDS: &str = "bare appends";

/// Measures on an application of its own.
pub(crate) async fn run(server: &Runtime) -> Result<Value> {
    let app = application(server).await?;
    let (ada, bob) = (
        app.person("ada", "engineer_i").await,
        app.person("bob", "engineer_i").await,
    );
    let mut owners = Vec::new();
    for n in 0..OWNERS {
        owners.push(app.person(&format!("owner{n}"), "engineer_i").await);
    }
    let mut questions = questions(&app.url, (&ada, &bob), &owners).await?;
    let (bare_questions, libraries) = library::start(server, &app.database_url).await?;
    questions.extend(bare_questions.into_iter().map(Arc::new));
    let url = database().await.url;
    let store = server
        .spawn(async move {
            PostgresEventStore::start(address(&url)?, Settings::default(), Arc::new(SystemClock))
                .await
                .map_err(anyhow::Error::from)
        })
        .await??;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        rows.extend(compare(server, connections, &questions, &store).await?);
    }
    server
        .spawn(async move { store.close(Duration::from_secs(10)).await })
        .await?;
    libraries.abort();
    server.spawn(app.stop()).await?;
    let slower: serde_json::Map<String, Value> = [SCALAR, ONE_ROW, LIST, MUTATION]
        .into_iter()
        .map(|what| (what.replace(' ', "_"), json!(slower(&rows, what))))
        .collect();
    Ok(json!({
        "unit": "requests/s; latency in ms; processor time in microseconds per request",
        "rows": rows,
        "slower": slower,
    }))
}

/// How many times as fast its yardstick is, at worst.
fn slower(rows: &[Value], what: &str) -> f64 {
    let ratios = rows
        .iter()
        .filter(|row| row["what"] == what)
        .map(|row| &row["ratio"]);
    let times = ratios.filter_map(Value::as_f64).map(|ratio| 1.0 / ratio);
    rounded(times.fold(0.0, f64::max))
}

/// All questions. Ada has thousands of experiments, Bob has as many as one page shows, the owners make some all the time.
async fn questions(
    url: &str,
    (ada, bob): (&Client, &Client),
    owners: &[Client],
) -> Result<Vec<Arc<Question>>> {
    let (create, create_bobs) = (creation(ada).await, creation(bob).await);
    for _ in 0..ROWS {
        bob.run(&create_bobs, json!({})).await.data("createExperiment");
    }
    let adas = Question::graphql("thousands", ada, &create, "\"userErrors\":[]")?;
    drive(&clients(CONNECTIONS[0])?, 2 * TURN, &Arc::new(adas)).await?;
    let mut creations = Vec::new();
    for owner in owners {
        creations.push(creation(owner).await);
    }
    let creations: Vec<_> = owners.iter().zip(creations.iter().map(String::as_str)).collect();
    let list = format!(
        "{{ experiments(first: {ROWS}) {{ nodes {{ id name createdAt }} pageInfo {{ endCursor }} }} }}"
    );
    let all = [
        Question::plain(STATIC, &format!("{url}/healthz"), "ok")?,
        Question::graphql(SCALAR, ada, "{ version }", "\"version\"")?,
        Question::graphql(ONE_ROW, ada, "{ me { id username } }", "\"ada\"")?,
        Question::graphql(LIST, bob, &list, "\"nodes\":[{")?,
        Question::graphql("newest 25 of thousands", ada, &list, "\"nodes\":[{")?,
        Question::of_many(MUTATION, &creations, "\"userErrors\":[]")?,
    ];
    Ok(all.into_iter().map(Arc::new).collect())
}

/// A mutation that creates an experiment, in a fresh project of `engineer`.
async fn creation(engineer: &Client) -> String {
    let found =
        "mutation { createProject(input: { name: \"Load\" }) { project { id } userErrors { message } } }";
    let created = engineer.run(found, json!({})).await;
    let project = created.data("createProject")["project"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    format!(
        "mutation {{ createExperiment(input: {{ projectId: \"{project}\", name: \"One of many\" }}) \
         {{ experiment {{ id name createdAt }} position userErrors {{ message }} }} }}"
    )
}

/// The rounds of one thing.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    latencies: Vec<f64>,
    cpu: Vec<[f64; 3]>,
}

impl Series {
    fn add(&mut self, load: Load, before: &Cpu) -> Result<()> {
        self.cpu
            .push(Cpu::now()?.per_request(before, load.latencies.len()));
        self.rates.push(load.rate());
        self.latencies.extend(load.latencies);
        Ok(())
    }

    /// The median over the rounds of this rate divided by `yardstick`'s in the same round.
    fn ratio(&self, yardstick: &Self) -> f64 {
        median(
            self.rates
                .iter()
                .zip(&yardstick.rates)
                .map(|(own, other)| own / other)
                .collect(),
        )
    }

    fn row(&self, name: &str, connections: usize, yardstick: Option<(&str, &Self)>) -> Value {
        let part = |index: usize| median(self.cpu.iter().map(|round| round[index]).collect());
        let mut row = json!({
            "what": name,
            "connections": connections,
            "per_s": rounded(median(self.rates.clone())),
            "p50_ms": rounded(percentile(&self.latencies, 0.5)),
            "p99_ms": rounded(percentile(&self.latencies, 0.99)),
            "cpu_us": cpu::named([part(0), part(1), part(2)]),
        });
        if let Some((against, yardstick)) = yardstick {
            row["against"] = json!(against);
            row["ratio"] = json!(rounded(self.ratio(yardstick)));
        }
        row
    }
}

async fn compare(
    server: &Runtime,
    connections: usize,
    questions: &[Arc<Question>],
    store: &Arc<PostgresEventStore>,
) -> Result<Vec<Value>> {
    let clients = clients(connections)?;
    for question in questions {
        drive(&clients, WARM_UP, question).await?;
    }
    bare(server, store, connections, WARM_UP).await?;
    let mut asked: Vec<Series> = questions.iter().map(|_| Series::default()).collect();
    let mut appended = Series::default();
    for _ in 0..ROUNDS {
        for (question, series) in questions.iter().zip(&mut asked) {
            let before = Cpu::now()?;
            series.add(drive(&clients, TURN, question).await?, &before)?;
        }
        let before = Cpu::now()?;
        appended.add(bare(server, store, connections, TURN).await?, &before)?;
    }
    let unasked = Series::default();
    let yardstick = questions.iter().position(|question| question.name == STATIC);
    let yardstick = yardstick.map_or(&unasked, |index| &asked[index]);
    let mut rows = vec![appended.row(APPENDS, connections, None)];
    for (question, series) in questions.iter().zip(&asked) {
        let against = match question.name {
            STATIC => None,
            MUTATION => Some((APPENDS, &appended)),
            _ => Some((STATIC, yardstick)),
        };
        rows.push(series.row(question.name, connections, against));
    }
    Ok(rows)
}

/// Appends by `callers` to a log that nothing else follows.
async fn bare(
    server: &Runtime,
    store: &Arc<PostgresEventStore>,
    callers: usize,
    time: Duration,
) -> Result<Load> {
    let store = Arc::clone(store);
    let run = server
        .spawn(async move { appends::grouped(&store, callers, time).await })
        .await??;
    Ok(run.into())
}
