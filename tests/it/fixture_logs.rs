//! Logs that earlier builds recorded still replay: chain, projections, directory and every aggregate.
//!
//! One rule: a fixture is imported byte for byte. How to add one: `tests/fixtures/logs/README.md`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use domain::{
    access::{administrators::Administrators, assignment::Assignments, ledger::QuotaLedger, role::Role},
    aggregate::{Aggregate, decode},
    audit::sensitive_read::SensitiveReads,
    authz::denial::Denials,
    clock::SystemClock,
    datasets::dataset::Dataset,
    event_store::{EventStore, Filter, Position, RecordedEvent},
    identity::{
        login::LoginAttempts, organization::Organization, reservation::Reservation, session::Session,
        user::User,
    },
    jobs::{
        job::{Job, JobState},
        progress::Progress,
    },
    models::model::Model,
    projects::{experiment::Experiment, project::Project},
};
use event_store::postgres::{PostgresEventStore, Settings, address, admin_pool, app_pool};
use projections::access::directory::Directory;
use serde_json::Value;
use sqlx::PgPool;
use tests::harness::{Database, database};
use tokio_util::sync::CancellationToken;

fn fixtures() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Puts a recorded log into a fresh database, as the owner of the tables.
async fn import(path: &PathBuf) -> Database {
    let text = std::fs::read_to_string(path).expect("a fixture");
    let (head, events) = text.split_once('\n').expect("a first line");
    let database = database().await;
    let owner = admin_pool(&database.url, 1).await.expect("a pool");
    let inserted = sqlx::query(
        "insert into event select (e->>'position')::bigint, (e->>'id')::uuid, e->>'stream', \
         (e->>'revision')::bigint, e->>'kind', (e->>'schema_version')::smallint, (e->>'at')::timestamptz, \
         (e->>'data')::json, (e->>'meta')::json, decode(e->>'data_hash', 'hex'), decode(e->>'hash', 'hex') \
         from unnest($1::text[]) line, lateral (select line::json as e) parsed",
    )
    .bind(events.lines().collect::<Vec<_>>())
    .execute(&owner)
    .await
    .expect("the events are inserted");
    let head: Value = serde_json::from_str(head).expect("JSON");
    assert_eq!(
        inserted.rows_affected(),
        head["events"].as_u64().expect("a number")
    );
    sqlx::query(
        "update event_head set pos = ($1::json->>'events')::bigint, hash = decode($1::json->>'head', 'hex'), \
         store_id = ($1::json->>'store_id')::uuid, log_version = ($1::json->>'log_version')::smallint, \
         at = (select max(at) from event)",
    )
    .bind(head.to_string())
    .execute(&owner)
    .await
    .expect("the head is set");
    owner.close().await;
    database
}

type Fold = fn(&[RecordedEvent]) -> Result<(), String>;

fn fold<A: Aggregate>(events: &[RecordedEvent]) -> Result<(), String> {
    let mut state = A::default();
    for event in events {
        state.evolve(&decode(event).map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// How the aggregates of each category are folded.
fn folds() -> BTreeMap<&'static str, Fold> {
    fn of<A: Aggregate>() -> (&'static str, Fold) {
        (A::CATEGORY, fold::<A>)
    }
    BTreeMap::from([
        of::<Administrators>(),
        of::<Assignments>(),
        of::<Reservation>(),
        of::<Dataset>(),
        of::<Denials>(),
        of::<Experiment>(),
        of::<Job>(),
        of::<LoginAttempts>(),
        of::<Model>(),
        of::<Organization>(),
        of::<Progress>(),
        of::<Project>(),
        of::<QuotaLedger>(),
        of::<Role>(),
        of::<SensitiveReads>(),
        of::<Session>(),
        of::<User>(),
    ])
}

async fn open(database: &Database) -> Arc<PostgresEventStore> {
    let options = address(&database.url).expect("a URL");
    let started = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock)).await;
    started.expect("the store starts")
}

async fn count(pool: &PgPool, table: &str) -> i64 {
    let statement = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(pool)
        .await
        .expect("a count")
}

/// AU-5, AU-6: every log that was ever recorded is whole and replays, in every aggregate and read model.
#[tokio::test]
async fn every_recorded_log_still_replays() {
    for path in fixtures() {
        let database = import(&path).await;
        let store = open(&database).await;
        let tip = store
            .verify()
            .await
            .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let mut streams: BTreeMap<String, Vec<RecordedEvent>> = BTreeMap::new();
        let mut after = Position::START;
        while after.0 < tip.position {
            let page = store
                .read_all(after, &Filter::all(), 1_000)
                .await
                .expect("readable");
            for event in page.events {
                streams.entry(event.stream.to_string()).or_default().push(event);
            }
            after = page.next;
        }
        let folds = folds();
        for (name, events) in &streams {
            let category = events[0].stream.category();
            let fold = folds
                .get(category)
                .unwrap_or_else(|| panic!("nobody folds {category}"));
            fold(events).unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
        }
        let stop = CancellationToken::new();
        let port: Arc<dyn EventStore> = store.clone();
        let directory = Directory::start(port.clone(), stop.clone())
            .await
            .expect("the directory folds it");
        assert!(directory.is_set_up());
        let pool = app_pool(&database.url, 4).await.expect("a pool");
        let (progress, runner) =
            projections::runner::start(port, pool.clone(), projections::all, stop.clone());
        let reached = progress
            .wait_for_position(Position(tip.position), Duration::from_secs(30))
            .await;
        reached.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            count(&pool, "audit_entry").await,
            i64::try_from(tip.position).expect("small")
        );
        stop.cancel();
        runner.await.expect("the runner ends");
        assert!(store.close(Duration::from_secs(5)).await);
    }
}

/// What the demo of the first build made is what this build reads.
#[tokio::test]
async fn the_first_builds_demo_reads_as_it_did() {
    let path = fixtures()
        .into_iter()
        .find(|path| path.ends_with("0.1.0.jsonl"))
        .expect("the first log");
    let database = import(&path).await;
    let store = open(&database).await;
    let stop = CancellationToken::new();
    let pool = app_pool(&database.url, 4).await.expect("a pool");
    let (progress, runner) =
        projections::runner::start(store.clone(), pool.clone(), projections::all, stop.clone());
    progress
        .wait_for_position(Position(83), Duration::from_secs(30))
        .await
        .expect("folded");
    let users: Vec<(String, String, bool)> =
        sqlx::query_as("select username, email, verified from identity_user order by username")
            .fetch_all(&pool)
            .await
            .expect("rows");
    let user = |name: &str| (name.to_owned(), format!("{name}@anneal.example"), true);
    assert_eq!(users, [user("demo-admin"), user("demo-engineer")]);
    let jobs: Vec<(String, String, String)> =
        sqlx::query_as("select name, state, metrics->>'evaluation_loss' from jobs_job order by name")
            .fetch_all(&pool)
            .await
            .expect("rows");
    let done = serde_json::to_value(JobState::Completed).expect("a name");
    let done = done.as_str().expect("a text").to_owned();
    let wanted = [
        ("Adapter for conversations (quick)", "6.064864584630272"),
        ("Small GPT-2 (quick)", "5.956828172523012"),
    ];
    assert_eq!(
        jobs,
        wanted.map(|(name, loss)| (name.to_owned(), done.clone(), loss.to_owned()))
    );
    let roles: Vec<String> =
        sqlx::query_scalar("select role from access_assignment where active order by role")
            .fetch_all(&pool)
            .await
            .expect("rows");
    assert_eq!(roles, ["admin", "engineer_i", "guest"]);
    let counted = [
        ("datasets_dataset", 2),
        ("models_version", 2),
        ("projects_project", 1),
        ("access_role", 11),
    ];
    for (table, wanted) in counted {
        assert_eq!(count(&pool, table).await, wanted, "{table}");
    }
    stop.cancel();
    runner.await.expect("the runner ends");
    assert!(store.close(Duration::from_secs(5)).await);
}
