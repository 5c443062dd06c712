//! What keeps the log in PostgreSQL as it was recorded: rights, triggers, the chain, start-up checks.

use std::sync::{Arc, Mutex};

use domain::{
    clock::{Clock, SystemClock},
    event_store::{EventStore as _, Expected},
};
use event_store::{
    integrity::Fault,
    postgres::{
        APP_ROLE, PostgresEventStore, Settings, StartError, VerifyError, address, admin_pool, app_pool,
    },
};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tests::harness::{Database, database};
use time::{Duration, OffsetDateTime};

use super::{make::append, open};

async fn refusal(pool: &PgPool, statement: &str) -> String {
    let outcome = pool
        .execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())))
        .await;
    outcome
        .err()
        .map_or_else(|| panic!("{statement} was accepted"), |error| error.to_string())
}

async fn run(pool: &PgPool, statement: &'static str) {
    pool.execute(sqlx::raw_sql(statement)).await.expect("accepted");
}

async fn start(database: &Database) -> Result<Arc<PostgresEventStore>, StartError> {
    let options = address(&database.url).expect("a URL");
    PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock)).await
}

#[tokio::test]
async fn nobody_changes_or_removes_recorded_events() {
    let database = database().await;
    open(&database, Settings::default())
        .await
        .append(append("a", Expected::Any, 3))
        .await
        .expect("recorded");
    let admin = admin_pool(&database.url, 1).await.expect("a pool");
    let app = app_pool(&database.url, 1).await.expect("a pool");
    let acting: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&app)
        .await
        .expect("readable");
    assert_eq!(acting, APP_ROLE);
    for statement in [
        "update event set kind = 'x'",
        "delete from event where pos = 2",
        "truncate event",
        "delete from event",
    ] {
        let superuser = refusal(&admin, statement).await;
        assert!(superuser.contains("append-only"), "{statement}: {superuser}");
        let app = refusal(&app, statement).await;
        assert!(app.contains("permission denied"), "{statement}: {app}");
    }
    let replica = "set session_replication_role = replica; delete from event";
    assert!(refusal(&admin, replica).await.contains("append-only"));
    for statement in [
        "delete from event_head",
        "drop table event",
        "alter table event disable trigger all",
    ] {
        refusal(&app, statement).await;
    }
    let left: i64 = sqlx::query_scalar("select count(*) from event")
        .fetch_one(&app)
        .await
        .expect("readable");
    assert_eq!(left, 3);
}

#[tokio::test]
async fn later_tables_are_open_to_the_app_role() {
    let database = database().await;
    let admin = admin_pool(&database.url, 1).await.expect("a pool");
    run(
        &admin,
        "create table later (n bigint generated always as identity, t text)",
    )
    .await;
    let app = app_pool(&database.url, 1).await.expect("a pool");
    run(
        &app,
        "insert into later (t) values ('x'); update later set t = 'y'; delete from later; truncate later",
    )
    .await;
}

#[tokio::test]
async fn a_tampered_event_is_found_at_its_position() {
    let database = database().await;
    let store = open(&database, Settings::default()).await;
    for n in 0..5 {
        store
            .append(append(&n.to_string(), Expected::NoStream, 2))
            .await
            .expect("recorded");
    }
    assert_eq!(store.verify().await.expect("intact").position, 10);
    let admin = admin_pool(&database.url, 1).await.expect("a pool");
    let found = async |statement: &'static str| {
        run(&admin, "alter table event disable trigger event_is_append_only").await;
        run(&admin, statement).await;
        match store.verify().await {
            Err(VerifyError::Fault(fault)) => fault,
            other => panic!("{statement}: {other:?}"),
        }
    };
    let last = found("update event_head set hash = sha256('x')").await;
    assert_eq!(
        last,
        Fault::Head {
            expected: 10,
            found: 10
        }
    );
    let meta = found(r#"update event set meta = '{"actor":"user:2"}' where pos = 8"#).await;
    assert_eq!(meta, Fault::Link { position: 8 });
    let data = found("update event set data = '[]' where pos = 6").await;
    assert_eq!(data, Fault::Payload { position: 6 });
    let rehashed = found("update event set data_hash = sha256('[]') where pos = 6").await;
    assert_eq!(rehashed, Fault::Link { position: 6 });
    let gap = found("delete from event where pos = 3").await;
    assert_eq!(
        gap,
        Fault::Gap {
            expected: 3,
            found: 4
        }
    );
    let mut reader = store.subscribe(
        domain::event_store::Position::START,
        domain::event_store::Filter::all(),
    );
    let error = reader.next().await.expect_err("a reader stops at the gap");
    assert!(error.to_string().contains("position 3 is missing"), "{error}");
}

#[tokio::test]
async fn a_database_that_could_lose_or_change_events_is_refused() {
    let database = database().await;
    open(&database, Settings::default())
        .await
        .append(append("a", Expected::Any, 3))
        .await
        .expect("recorded");
    let admin = admin_pool(&database.url, 1).await.expect("a pool");

    let lax = address(&database.url)
        .expect("a URL")
        .options([("synchronous_commit", "off")]);
    let error = PostgresEventStore::start(lax, Settings::default(), Arc::new(SystemClock))
        .await
        .expect_err("lax");
    assert!(
        matches!(
            &error,
            StartError::Setting {
                setting: "synchronous_commit",
                ..
            }
        ),
        "{error}"
    );

    for (breaks, mends, expected) in [
        (
            "grant delete on event to anneal_app",
            "revoke delete on event from anneal_app",
            "revoke update, delete",
        ),
        (
            "alter table event disable trigger event_is_append_only",
            "alter table event enable always trigger event_is_append_only",
            "enable always trigger",
        ),
        (
            "update event_head set log_version = 9",
            "update event_head set log_version = 1",
            "version 9",
        ),
        (
            "update event_head set pos = 2",
            "update event_head set pos = 3",
            "says 2, its last event is 3",
        ),
        (
            "alter table event_head rename to elsewhere",
            "alter table elsewhere rename to event_head",
            "run the migrations",
        ),
    ] {
        run(&admin, breaks).await;
        let error = start(&database).await.expect_err(breaks).to_string();
        assert!(error.contains(expected), "{breaks}: {error}");
        run(&admin, mends).await;
        start(&database).await.expect(mends);
    }
}

/// Turned by hand.
struct HandClock(Mutex<OffsetDateTime>);

impl Clock for HandClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().expect("no panic")
    }
}

#[tokio::test]
async fn time_never_runs_backwards_along_the_log() {
    let database = database().await;
    let noon = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    let clock = Arc::new(HandClock(Mutex::new(noon + Duration::nanoseconds(1_999))));
    let options = address(&database.url).expect("a URL");
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let store = PostgresEventStore::start(options, Settings::default(), shared)
        .await
        .expect("started");
    let first = store
        .append(append("a", Expected::Any, 1))
        .await
        .expect("recorded");
    assert_eq!(first.at, noon + Duration::microseconds(1));
    *clock.0.lock().expect("no panic") = noon - Duration::hours(1);
    let second = store
        .append(append("a", Expected::Any, 1))
        .await
        .expect("recorded");
    assert_eq!(second.at, first.at);
    *clock.0.lock().expect("no panic") = noon + Duration::hours(1);
    let third = store
        .append(append("a", Expected::Any, 1))
        .await
        .expect("recorded");
    assert_eq!(third.at, noon + Duration::hours(1));
    store.verify().await.expect("intact");
}
