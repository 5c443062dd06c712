//! GQ-7: how many statements an operation takes does not depend on how many rows it answers with (FL6).

use domain::{
    access::ledger::{LedgerEvent, QuotaLedger, month},
    clock::{Clock as _, SystemClock},
    id::UserId,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::harness::{Client, TestApp, TestOptions, events::record, rows_read::fill, statements::Statements};

use super::{Bench, bench, scratch};

/// Of each list, what is worked out or read for each of its rows.
const QUERIES: [(&str, &str); 5] = [
    ("jobs", "queuePosition expectedStartSeconds waitingReason"),
    ("projects", "workerSeconds gpuSeconds"),
    (
        "projects",
        "experiments(first: 3) { totalCount nodes { name } pageInfo { hasNextPage } }",
    ),
    (
        "projects",
        "experiments(first: 2, order: { by: NAME, direction: ASCENDING }) { nodes { \
         jobs(first: 2, filter: { states: [QUEUED] }) { totalCount nodes { name waitingReason } } } }",
    ),
    (
        "experiments",
        "jobs(first: 5) { totalCount nodes { queuePosition } }",
    ),
];

/// What is asked for at the same time is read together; what comes a millisecond later, because the machine is busy, makes
/// another statement. For 40 rows by themselves it would be 40.
const TICKS: usize = 3;

/// How often the statement was sent that was sent most often.
fn most(statements: &[String]) -> usize {
    let times = |one: &String| statements.iter().filter(|other| *other == one).count();
    statements.iter().map(times).max().unwrap_or_default()
}

async fn start() -> (TestApp, Bench, PgPool) {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let bench = bench(&app).await;
    let (_job, _) = bench.start(&bench.text, scratch(10)).await;
    let address = event_store::postgres::address(&app.database_url).expect("a URL");
    let pool = PgPool::connect_with(address).await.expect("a pool");
    (app, bench, pool)
}

/// The rows that `client` finds by `list`, and the statements that it took.
async fn ask(
    client: &Client,
    statements: &Statements,
    list: &str,
    fields: &str,
) -> (Vec<Value>, Vec<String>) {
    let query = format!("{{ {list}(first: 100) {{ nodes {{ id {fields} }} }} }}");
    let _before = statements.take();
    let answer = client.run(&query, json!({})).await;
    let rows = answer.data(list)["nodes"].as_array().cloned().unwrap_or_default();
    (rows, statements.take())
}

#[tokio::test]
async fn what_is_worked_out_for_each_row_is_read_for_all_at_once() {
    let (app, bench, pool) = start().await;
    let statements = Statements::listen();
    let ask_all = async || {
        let mut asked = Vec::new();
        for (list, fields) in QUERIES {
            asked.push(ask(&bench.engineer, &statements, list, fields).await);
        }
        asked
    };
    // Of one waiting job alone, nothing is put in order.
    grow(&pool, 1).await;
    let few = ask_all().await;
    grow(&pool, 40).await;
    let many = ask_all().await;
    drop(statements);
    for ((one, few), (others, many)) in few.iter().zip(&many) {
        assert_eq!((one.len(), others.len()), (2, 42));
        assert!(!few.is_empty(), "they are counted");
        assert!(most(few) <= TICKS && most(many) <= TICKS, "{few:#?}, {many:#?}");
    }
    // What is read at once is there, for each.
    let nested = |row: &Value| row["experiments"]["nodes"].as_array().map(Vec::len);
    let (projects, _) = &many[2];
    assert!(projects.iter().all(|row| nested(row) == Some(1)), "{projects:#?}");
    let jobs = |row: &Value| row["jobs"]["totalCount"].clone();
    let (experiments, _) = &many[4];
    assert_eq!(experiments.iter().filter(|row| jobs(row) == json!(42)).count(), 1);
    app.stop().await;
}

/// As many projects more, with an experiment in each, and as many waiting jobs in the first experiment.
async fn grow(pool: &PgPool, count: u32) {
    fill(pool, "jobs_job", count, "'id', gen_random_uuid()").await;
    fill(pool, "projects_project", count, "'id', gen_random_uuid()").await;
    let experiments = "insert into projects_experiment \
        select (jsonb_populate_record(s.one, jsonb_build_object('id', gen_random_uuid(), 'project_id', p.id))).* \
        from (select t from projects_experiment t limit 1) s(one), projects_project p \
        where not exists (select from projects_experiment x where x.project_id = p.id)";
    run(pool, experiments).await;
}

async fn run(pool: &PgPool, statement: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool);
    done.await.expect("done");
}

/// Every job that only workers with GPUs can run names the hours of its owner, of which the log knows.
#[tokio::test]
async fn ledgers_of_all_owners_are_read_at_once() {
    let (app, bench, pool) = start().await;
    let worker = "insert into jobs_worker (id, name, host, device, code_version, engine, labels, draining, \
        registered_at, version, position) \
        values (gen_random_uuid(), 'gpu', 'h', 'cuda', '1', 1000, '[\"cuda\"]', false, now(), 1, 1)";
    run(&pool, worker).await;
    let beat = "insert into jobs_worker_beat select id, now(), now() + interval '1 hour' from jobs_worker";
    run(&pool, beat).await;
    let mut owners = vec![bench.engineer.user_id.clone()];
    for name in ["bob", "cyd"] {
        owners.push(app.person(name, "engineer_i").await.user_id);
    }
    let owners: Vec<UserId> = owners.iter().map(|id| id.parse().expect("an id")).collect();
    for owner in &owners {
        let taken = LedgerEvent::GpuTimeTaken {
            month: month(SystemClock.now()),
            milliseconds: 100 * 3_600_000,
            item: "job_before/1".to_owned(),
        };
        record::<QuotaLedger>(&app.database_url, *owner, &taken).await;
    }
    let statements = Statements::listen();
    let asked = async || ask(&app.admin, &statements, "jobs", "waitingReason").await;
    let (one, by_one) = asked().await;
    let each: Vec<String> = owners.iter().map(|owner| format!("'{}'", owner.0)).collect();
    let over = format!(
        "'id', gen_random_uuid(), 'owner_id', (array[{}])[1 + i % 3]",
        each.join(", ")
    );
    fill(&pool, "jobs_job", 40, &over).await;
    let (many, by_many) = asked().await;
    drop(statements);
    assert_eq!((one.len(), many.len()), (1, 41));
    let told = |row: &Value| {
        row["waitingReason"]
            .as_str()
            .is_some_and(|why| why.contains("GPU hours"))
    };
    assert!(many.iter().all(told), "{many:#?}");
    let loads = |all: &[String]| {
        all.iter()
            .filter(|text| text.starts_with("select a.asked"))
            .count()
    };
    assert_eq!(loads(&by_one), 1, "{by_one:#?}");
    assert!((1..=TICKS).contains(&loads(&by_many)), "{by_many:#?}");
    app.stop().await;
}
