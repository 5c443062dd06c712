//! Rebuilds: resumed, asked for, by themselves; and comparisons that find what differs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{
    aggregate::DecodeError,
    event_store::{Position, RecordedEvent},
    id::{Ids, SystemIds},
};
use projections::{
    audit::entry::Entries,
    history::History,
    projects::project::{ProjectRow, Projects},
    read_model::{ReadModel, Rows, Scope, Table},
    rebuild::{Difference, Limits, RebuildOptions, finished, request},
    runner::{Condition, statuses},
};
use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, Projectors, TIMEOUT, eventually, project, tables};

const SWAP: RebuildOptions = RebuildOptions {
    compare: false,
    swap: true,
    discard: false,
};

const BOTH: Projectors = || {
    vec![
        Box::new(Table::<Projects>::default()),
        Box::new(Table::<Entries>::default()),
    ]
};

/// Missing, surplus and different rows are told apart and named, at exactly one position, while events come in.
#[tokio::test]
async fn a_comparison_names_every_row_that_differs() {
    let fixture = Fixture::new().await;
    let ids: Vec<uuid::Uuid> = (0..6).map(|_| SystemIds.next()).collect();
    let last = fixture
        .record(ids.iter().map(|id| project(*id, "P")).collect())
        .await;
    let runner = fixture.start(BOTH);
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    let surplus = uuid::Uuid::max();
    for (statement, id) in [
        ("delete from projects_project where id = $1", ids[1]),
        (
            "update projects_project set name = 'Q', experiments = 7 where id = $1",
            ids[3],
        ),
        (
            "insert into projects_project select $1, owner_id, name, description, created_at, 0
             from projects_project limit 1",
            surplus,
        ),
    ] {
        sqlx::query(statement)
            .bind(id)
            .execute(&fixture.pool)
            .await
            .expect("damaged");
    }
    let found = fixture.check(BOTH).await;
    let (projects, entries) = (&found[0], &found[1]);
    assert!(entries.is_equal() && entries.same == 6, "{entries:?}");
    assert_eq!(
        (
            projects.same,
            projects.missing,
            projects.surplus,
            projects.different
        ),
        (4 + 6 * (tables(BOTH)[0] - 1), 1, 1, 1),
        "four of the rows, and the whole past of six"
    );
    assert_eq!(projects.position, last);
    let table = "projects_project";
    let mut expected = vec![
        Difference::Missing {
            table,
            key: ids[1].to_string(),
        },
        Difference::Different {
            table,
            key: ids[3].to_string(),
            columns: vec!["experiments".to_owned(), "name".to_owned()],
        },
        Difference::Surplus {
            table,
            key: surplus.to_string(),
        },
    ];
    let key = |one: &Difference| match one {
        Difference::Missing { key, .. }
        | Difference::Surplus { key, .. }
        | Difference::Different { key, .. } => key.clone(),
    };
    expected.sort_by_key(key);
    assert_eq!(projects.examples, expected);
    // Nothing is left of the check, and a swap repairs what it found.
    assert_eq!(fixture.count("select count(*) from projection_rebuild").await, 0);
    fixture.rebuild(BOTH, SWAP, Limits::default()).await;
    assert!(
        fixture
            .check(BOTH)
            .await
            .iter()
            .all(projections::rebuild::Comparison::is_equal)
    );
    runner.end().await;
}

/// Ended in the middle, a rebuild goes on from its checkpoint; what it wrote before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_rebuild_goes_on_where_it_ended() {
    let fixture = Fixture::new().await;
    let last = fixture.projects(600).await;
    let runner = fixture.start(BOTH);
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    let rebuild = fixture.begin().await.limited(Limits { page: 50, memory: 0 });
    let (stop, told) = (CancellationToken::new(), AtomicBool::new(false));
    let (kept, pool) = (Arc::new(AtomicI64::new(0)), fixture.pool.clone());
    let looking = tokio::spawn({
        let kept = Arc::clone(&kept);
        async move {
            while kept.load(Ordering::SeqCst) == 0 {
                let position =
                    sqlx::query_scalar("select coalesce(min(position), 0) from projection_rebuild");
                kept.store(
                    position.fetch_one(&pool).await.expect("counted"),
                    Ordering::SeqCst,
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    // What is folded is written a moment later; the fold stands still until some of it is.
    let heard = |step: projections::rebuild::Step| {
        if step.position >= Position(300) && !told.swap(true, Ordering::SeqCst) {
            let begun = Instant::now();
            while kept.load(Ordering::SeqCst) == 0 && begun.elapsed() < TIMEOUT {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.cancel();
        }
    };
    let projectors = BOTH().into_iter().map(Arc::from).collect();
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        outcome = rebuild.run(projectors, SWAP, &heard) => panic!("it was to be interrupted: {outcome:?}"),
    }
    looking.await.expect("some of it was written");
    rebuild.end().await.expect("given back");
    let at = eventually(async || {
        let at = fixture
            .count("select min(position) from projection_rebuild")
            .await;
        (at > 0).then_some(at)
    })
    .await;
    assert!(at < 600, "{at}");
    let first = AtomicBool::new(true);
    let rebuild = fixture.begin().await.limited(Limits { page: 50, memory: 0 });
    let heard = |step: projections::rebuild::Step| {
        if first.swap(false, Ordering::SeqCst) {
            assert!(step.position.0 > 50, "it began anew: {step:?}");
        }
    };
    let projectors = BOTH().into_iter().map(Arc::from).collect();
    let outcomes = rebuild.run(projectors, SWAP, &heard).await.expect("rebuilt");
    assert!(outcomes.iter().all(|outcome| outcome.swapped));
    rebuild.end().await.expect("given back");
    for (comparison, tables) in fixture.check(BOTH).await.iter().zip(tables(BOTH)) {
        assert!(comparison.is_equal(), "{comparison:?}");
        assert_eq!(comparison.same, 600 * tables);
    }
    runner.end().await;
}

/// A shadow that was made under a check that is gone is made anew, so that it does not refuse rows for good.
#[tokio::test]
async fn a_shadow_follows_the_checks_of_its_table() {
    let fixture = Fixture::new().await;
    let last = fixture.projects(5).await;
    let runner = fixture.start(BOTH);
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    let owner = sqlx::PgPool::connect(&fixture.database.url)
        .await
        .expect("as the owner");
    let rebuilt = async |change: &str| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(change.to_owned()))
            .execute(&owner)
            .await
            .expect("changed");
        let rebuild = fixture.begin().await;
        let projectors = BOTH().into_iter().map(Arc::from).collect();
        let outcomes = rebuild.run(projectors, SWAP, &|_| ()).await;
        rebuild.end().await.expect("given back");
        outcomes.is_ok_and(|outcomes| outcomes.iter().all(|outcome| outcome.swapped))
    };
    assert!(!rebuilt("alter table projects_project add constraint no check (name <> 'P') not valid").await);
    assert!(rebuilt("alter table projects_project drop constraint no").await);
    runner.end().await;
}

/// A rebuild that is asked for is done in the background, one that is asked for meanwhile once more after it.
#[tokio::test]
async fn requests_are_worked_off_and_coalesce() {
    let fixture = Fixture::new().await;
    let last = fixture.projects(10).await;
    for _ in 0..3 {
        request(&fixture.pool, &["projects.project", "audit.entry"])
            .await
            .expect("asked");
    }
    assert!(!finished(&fixture.pool, &["audit.entry"]).await.expect("asked"));
    let runner = fixture.start(BOTH);
    let done = async || {
        let names = ["projects.project", "audit.entry"];
        finished(&fixture.pool, &names)
            .await
            .expect("asked")
            .then_some(())
    };
    eventually(done).await;
    let generations = "select sum(generation)::bigint from projection_checkpoint";
    assert_eq!(
        fixture.count(generations).await,
        2,
        "three requests are one rebuild each"
    );
    // A rebuild is under way (kept here, as by a process that died), then another request comes.
    let keep = RebuildOptions { swap: false, ..SWAP };
    fixture
        .rebuild(
            || vec![Box::new(Table::<Projects>::default())],
            keep,
            Limits::default(),
        )
        .await;
    request(&fixture.pool, &["projects.project"])
        .await
        .expect("asked");
    eventually(done).await;
    assert_eq!(
        fixture.count(generations).await,
        4,
        "the one under way, and another one after it"
    );
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    assert!(
        fixture
            .check(BOTH)
            .await
            .iter()
            .all(projections::rebuild::Comparison::is_equal)
    );
    runner.end().await;
}

/// Projects, in a later version of the code: their names in capitals.
#[derive(Default)]
struct Loud;

impl ReadModel for Loud {
    type Row = ProjectRow;
    const NAME: &'static str = Projects::NAME;
    const VERSION: i32 = Projects::VERSION + 1;
    const TABLE: &'static str = Projects::TABLE;
    const HISTORY: Option<History> = Projects::HISTORY;
    const SCOPE: Scope = Scope::Internal("a read model of this test");
    const CATEGORIES: &'static [&'static str] = &["projects.project"];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Projects::keys(event)
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<ProjectRow>) -> Result<(), DecodeError> {
        Projects::fold(event, rows)?;
        for key in Self::keys(event)? {
            rows.change(key, |row| row.name = row.name.to_uppercase());
        }
        Ok(())
    }
}

/// A changed fold rebuilds its table by itself; the recorded version changes with the swap, not before.
#[tokio::test]
async fn a_changed_projection_rebuilds_itself() {
    let fixture = Fixture::new().await;
    let old: Projectors = || vec![Box::new(Table::<Projects>::default())];
    let new: Projectors = || vec![Box::new(Table::<Loud>::default())];
    for _ in 0..3 {
        fixture.record(vec![project(SystemIds.next(), "quiet")]).await;
    }
    let before = fixture.start(old);
    before
        .progress
        .wait_for_position(Position(3), TIMEOUT)
        .await
        .expect("folded");
    before.end().await;
    assert_eq!(
        fixture
            .count("select count(*) from projects_project where name = 'quiet'")
            .await,
        3
    );
    // Somebody else has the right to rebuild: so the old rows are served, and folded on.
    let held = fixture.begin().await;
    let runner = fixture.start(new);
    let last = fixture.record(vec![project(SystemIds.next(), "fresh")]).await;
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded on");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 4);
    assert_eq!(
        fixture
            .count("select version::bigint from projection_checkpoint")
            .await,
        i64::from(Projects::VERSION)
    );
    held.end().await.expect("given back");
    eventually(async || {
        let version = fixture
            .count("select version::bigint from projection_checkpoint")
            .await;
        (version == i64::from(Loud::VERSION)).then_some(())
    })
    .await;
    assert_eq!(
        fixture
            .count("select count(*) from projects_project where name = 'QUIET'")
            .await,
        3
    );
    let last = fixture.record(vec![project(SystemIds.next(), "later")]).await;
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded on");
    assert_eq!(
        fixture
            .count("select count(*) from projects_project where name = 'LATER'")
            .await,
        1
    );
    assert!(
        fixture
            .check(new)
            .await
            .iter()
            .all(projections::rebuild::Comparison::is_equal)
    );
    runner.end().await;
    // The older code leaves alone what the newer one has folded.
    let older = fixture.start(old);
    fixture.record(vec![project(SystemIds.next(), "ignored")]).await;
    eventually(async || {
        let holder = fixture
            .count("select epoch from projection_lease where name = 'fold'")
            .await;
        (holder >= 4).then_some(())
    })
    .await;
    assert_eq!(
        fixture
            .count("select count(*) from projects_project where name = 'ignored'")
            .await,
        0
    );
    older.end().await;
}

/// A new projection over a long log is built beside, and nobody waits for it.
#[tokio::test]
async fn a_new_projection_is_built_in_the_background() {
    let fixture = Fixture::new().await;
    let last = fixture.projects(2_500).await;
    let held = fixture.begin().await;
    let runner = fixture.start(BOTH);
    let rebuilding = eventually(async || {
        let all = statuses(&fixture.pool).await.expect("asked");
        (all.len() == 2).then_some(all)
    })
    .await;
    assert!(
        rebuilding
            .iter()
            .all(|one| one.condition == Condition::Rebuilding),
        "{rebuilding:?}"
    );
    held.end().await.expect("given back");
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("built");
    eventually(async || {
        let rows = fixture.count("select count(*) from audit_entry").await
            + fixture.count("select count(*) from projects_project").await;
        (rows == 5_000).then_some(())
    })
    .await;
    let last = fixture.projects(1).await;
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded on");
    for (comparison, tables) in fixture.check(BOTH).await.iter().zip(tables(BOTH)) {
        assert!(comparison.is_equal(), "{comparison:?}");
        assert_eq!(comparison.same, 2_501 * tables);
    }
    runner.end().await;
}
