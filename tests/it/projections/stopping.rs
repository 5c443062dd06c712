//! Events that cannot be folded: the projection stops exactly there, alone, and says so.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::{
    aggregate::{DecodeError, decode},
    event_store::{Position, RecordedEvent},
    id::Ids,
    identity::user::UserEvent,
    projects::project::ProjectEvent,
};
use projections::{
    audit::entry::Entries,
    identity::user::Users,
    projects::project::{ProjectRow, Projects},
    read_model::{ReadModel, Row, Rows, Scope, Table},
    runner::{Condition, ProjectionStatus, statuses},
};
use serde_json::json;
use tests::harness::TestApp;

use super::fixture::{Fixture, TIMEOUT, event, eventually, project, stream};

async fn stopped(fixture: &Fixture, name: &str) -> ProjectionStatus {
    eventually(async || {
        let all = statuses(&fixture.pool).await.expect("asked");
        all.into_iter()
            .find(|one| one.name == name && one.condition == Condition::Stopped)
    })
    .await
}

/// Everything before the bad event is folded, also when it is recorded in the middle of a page; nothing after.
#[tokio::test]
async fn a_projection_stops_before_the_bad_event_and_the_others_go_on() {
    let fixture = Fixture::new().await;
    let before = fixture.projects(5).await;
    let bad = fixture.bad_project().await;
    let last = fixture.projects(4).await;
    let runner = fixture.start(|| {
        vec![
            Box::new(Table::<Projects>::default()),
            Box::new(Table::<Entries>::default()),
        ]
    });
    let status = stopped(&fixture, "projects.project").await;
    assert_eq!(status.failed_position, Some(bad));
    assert_eq!(status.position, before);
    assert!(
        status
            .failure
            .is_some_and(|reason| reason.contains(&bad.to_string()))
    );
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("the others go on");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 5);
    assert_eq!(fixture.count("select count(*) from audit_entry").await, 10);
    // Also what is recorded from now on.
    let last = fixture.projects(1).await;
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("the others go on");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 5);
    runner.end().await;
}

/// Whether [`Picky`] is content by now.
static CONTENT: AtomicBool = AtomicBool::new(false);

/// Refuses the project named "unwanted", until it is content; the database refuses the row, not the fold.
#[derive(Default)]
struct Picky;

impl ReadModel for Picky {
    type Row = ProjectRow;
    const NAME: &'static str = "projects.project";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "projects_project";
    const SCOPE: Scope = Scope::Internal("a read model of this test");
    const CATEGORIES: &'static [&'static str] = &["projects.project"];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Projects::keys(event)
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ProjectRow>) -> Result<(), DecodeError> {
        Projects::fold(event, rows)?;
        let ProjectEvent::Created { project, name, .. } = decode(event)?;
        if name == "unwanted" && !CONTENT.load(Ordering::SeqCst) {
            rows.change(project.0, |row| {
                row.created_at = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(-50_000);
            });
        }
        Ok(())
    }
}

/// A row that the database refuses is found among many; the projection is tried again without a restart.
#[tokio::test]
async fn a_stopped_projection_is_tried_again_by_itself() {
    let fixture = Fixture::new().await;
    sqlx::raw_sql("alter table projects_project add check (created_at > '1900-01-01')")
        .execute(
            &sqlx::PgPool::connect(&fixture.database.url)
                .await
                .expect("as the owner"),
        )
        .await
        .expect("altered");
    let before = fixture.projects(7).await;
    let bad = fixture
        .record(vec![project(domain::id::SystemIds.next(), "unwanted")])
        .await;
    let last = fixture.projects(3).await;
    let runner = fixture.start(|| vec![Box::new(Table::<Picky>::default())]);
    let status = stopped(&fixture, "projects.project").await;
    assert_eq!((status.position, status.failed_position), (before, Some(bad)));
    assert_eq!(fixture.count("select count(*) from projects_project").await, 7);
    CONTENT.store(true, Ordering::SeqCst);
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("it goes on");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 11);
    assert_eq!(
        fixture
            .count("select count(*) from projection_checkpoint where failure is not null")
            .await,
        0
    );
    runner.end().await;
}

/// A row that an operator's trigger refuses stops its projection alone, until the trigger is gone.
#[tokio::test]
async fn what_a_trigger_refuses_stops_one_projection() {
    let fixture = Fixture::new().await;
    let owner = sqlx::PgPool::connect(&fixture.database.url)
        .await
        .expect("as the owner");
    let refuse =
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
        create trigger refuse before insert on projects_project for each row when (new.name = 'unwanted')
        execute function refuse()";
    sqlx::raw_sql(refuse).execute(&owner).await.expect("created");
    let before = fixture.projects(2).await;
    let bad = fixture
        .record(vec![project(domain::id::SystemIds.next(), "unwanted")])
        .await;
    let runner = fixture.start(|| {
        vec![
            Box::new(Table::<Projects>::default()),
            Box::new(Table::<Entries>::default()),
        ]
    });
    let status = stopped(&fixture, "projects.project").await;
    assert_eq!((status.position, status.failed_position), (before, Some(bad)));
    assert_eq!(
        fixture.count("select count(*) from audit_entry").await,
        3,
        "the other goes on"
    );
    sqlx::raw_sql("drop trigger refuse on projects_project")
        .execute(&owner)
        .await
        .expect("dropped");
    let gone = eventually(async || {
        let projects = fixture.count("select count(*) from projects_project").await;
        (projects == 3).then_some(())
    });
    gone.await;
    runner.end().await;
}

/// Users, in a version of the code that writes their e-mail address where an id belongs.
#[derive(Default)]
struct Careless;

/// A row of [`Careless`]: a session whose user is no id.
#[derive(Row)]
struct CarelessRow {
    id: String,
    user_id: String,
}

impl ReadModel for Careless {
    type Row = CarelessRow;
    const NAME: &'static str = "identity.session";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "identity_session";
    const PERSONAL: bool = true;
    const SCOPE: Scope = Scope::Internal("a read model of this test");
    const CATEGORIES: &'static [&'static str] = &["identity.user"];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Users::keys(event)
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<CarelessRow>) -> Result<(), DecodeError> {
        if let UserEvent::Registered { user, profile, .. } = decode(event)? {
            let row = CarelessRow {
                id: user.0.to_string(),
                user_id: profile.email,
            };
            rows.put(user.0, row);
        }
        Ok(())
    }
}

/// AU-7: why a projection stopped is kept and logged: nobody's data are in it, whoever refused them.
#[tokio::test]
async fn the_reason_quotes_no_personal_data() {
    let fixture = Fixture::new().await;
    let golden = include_str!("../../../schema/events/identity.UserRegistered.v1.json");
    let good: serde_json::Value = serde_json::from_str(golden).expect("JSON");
    let email = good["profile"]["email"].as_str().expect("an address").to_owned();
    // What the database refuses in a row, and what the code cannot read.
    let mut unreadable = good.clone();
    unreadable["user"] = json!(email);
    for (number, payload) in [good, unreadable].into_iter().enumerate() {
        let (key, refused) = (
            domain::id::SystemIds.next(),
            event("identity.UserRegistered", &payload),
        );
        let bad = fixture
            .record(vec![(stream("identity.user", "usr", key), vec![refused])])
            .await;
        let runner = match number {
            0 => fixture.start(|| vec![Box::new(Table::<Careless>::default())]),
            _ => fixture.start(|| vec![Box::new(Table::<Users>::default())]),
        };
        let name = ["identity.session", "identity.user"][number];
        let status = stopped(&fixture, name).await;
        assert_eq!(status.failed_position, Some(bad), "{status:?}");
        let reason = status.failure.expect("a reason");
        assert!(!reason.is_empty() && !reason.contains(&email), "{reason}");
        runner.end().await;
    }
}

/// Operators see it, and mutations do not wait for a projection that stopped.
#[tokio::test]
async fn health_names_the_stopped_projection_and_the_system_goes_on() {
    let app = TestApp::start().await;
    let pool = event_store::postgres::app_pool(&app.database_url, 1)
        .await
        .expect("a pool");
    let fixture = Fixture {
        database: tests::harness::database().await,
        store: event_store::postgres::PostgresEventStore::start(
            event_store::postgres::address(&app.database_url).expect("a URL"),
            event_store::postgres::Settings::default(),
            std::sync::Arc::new(domain::clock::SystemClock),
        )
        .await
        .expect("a second store"),
        pool,
    };
    let bad: Position = fixture.bad_project().await;
    stopped(&fixture, "projects.project").await;
    let health = app
        .client()
        .send(app.client().request(reqwest::Method::GET, "/api/health"))
        .await;
    assert_eq!(health.status, 200, "{health:?}");
    let projections = &health.body["projections"];
    assert_eq!(projections[0]["name"], json!("projects.project"), "{health:?}");
    assert_eq!(projections[0]["condition"], json!("stopped"));
    assert_eq!(projections[0]["failedPosition"], json!(bad));
    assert!(
        projections[0].get("failure").is_none(),
        "reasons may quote events"
    );
    app.admin.dataset("still works").await;
    app.stop().await;
}
