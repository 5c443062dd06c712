//! What a question about the past costs: rows read, however long the past is.

use domain::{
    authz::Action,
    event_store::Position,
    id::{JobId, UserId},
};
use projections::{
    access::rights,
    history::AsOf,
    jobs::{job::Jobs, queue},
    paging::PageRequest,
    projects::project::Projects,
    read_model::{self, RowFilter, Viewer},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tests::harness::rows_read::{self, fill};
use time::OffsetDateTime;

use super::{answers::viewer, scenario::Scenario};

/// The tables that are filled.
const FILLED: [&str; 6] = [
    "access_account_history",
    "access_assignment_history",
    "access_usage_history_dense",
    "jobs_job_history",
    "jobs_job_history_dense",
    "projects_project_history",
];

/// Rows that `question` reads; it may scan no filled table.
async fn cost<A>(pool: &PgPool, what: &str, question: impl Future<Output = A>) -> (A, i64) {
    rows_read::cost(pool, &FILLED, what, question).await
}

fn user(number: u32) -> UserId {
    UserId(uuid::Uuid::from_u128(u128::from(number)))
}

/// 5,000 jobs of 50 owners in 6 versions each, with 20 reports each; 3,000 users with roles that came and went;
/// one user who took and gave back 20,000 times.
async fn fill_all(pool: &PgPool) {
    let uuid = |expression: &str| format!("lpad(to_hex({expression}), 32, '0')::uuid");
    let versions = format!(
        "'id', {id}, 'owner_id', {owner}, 'experiment_id', {owner}, 'state', \
         (array['queued','starting','running','queued','starting','completed'])[i % 6 + 1], \
         'valid_from', 1000000 + (i / 6) * 100 + (i % 6) * 10, \
         'valid_to', case when i % 6 < 5 then 1000000 + (i / 6) * 100 + (i % 6) * 10 + 10 end",
        id = uuid("i / 6 + 1"),
        owner = uuid("(i / 6) % 50 + 1"),
    );
    fill(pool, "jobs_job_history", 30_000, &versions).await;
    let reports = format!(
        "'id', {}, 'step', i % 20, 'valid_from', 1000000 + (i / 20) * 100 + (i % 20) * 4",
        uuid("i / 20 + 1")
    );
    fill(pool, "jobs_job_history_dense", 100_000, &reports).await;
    let projects = format!(
        "'id', {}, 'owner_id', {}, 'valid_from', 1000000 + i, 'valid_to', null",
        uuid("i"),
        uuid("i % 50 + 1")
    );
    fill(pool, "projects_project_history", 5_000, &projects).await;
    let reports = format!("'id', {}, 'experiments', 3, 'valid_from', 1000000 + i", uuid("i"));
    fill(pool, "projects_project_history_dense", 5_000, &reports).await;
    let accounts = format!(
        "'id', {}, 'state', 'active', 'valid_from', 1000000, 'valid_to', null",
        uuid("i")
    );
    fill(pool, "access_account_history", 3_000, &accounts).await;
    let held = format!(
        "'id', i::text, 'user_id', {}, 'role', (array['manager','guest','viewer','user'])[i % 4 + 1], 'active', true, \
         'valid_from', 1000000 + i, 'valid_to', null",
        uuid("i / 4 + 1")
    );
    fill(pool, "access_assignment_history", 12_000, &held).await;
    fill(
        pool,
        "access_usage_history",
        1,
        &format!("'id', {}, 'valid_from', 1000000, 'valid_to', null", uuid("1")),
    )
    .await;
    let used = format!(
        "'id', {}, 'concurrent_jobs', i % 2, 'valid_from', 1000000 + i",
        uuid("1")
    );
    fill(pool, "access_usage_history_dense", 20_000, &used).await;
}

/// AU-4: an answer is found by indexes, near the beginning of a long past, in its middle and at its end.
#[tokio::test(flavor = "multi_thread")]
async fn questions_read_few_rows_of_a_long_past() {
    let mut scenario = Scenario::start(7).await;
    while scenario.participants.jobs.len() < 12 {
        scenario.happen(20).await;
    }
    fill_all(&scenario.pool).await;
    let options = (*scenario.pool.connect_options()).clone();
    // One connection, so that what it read is counted before the next question.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .expect("a pool");
    // As a database does by itself after a while. Only the owner of the tables may: this pool has no other role.
    sqlx::query("analyze").execute(&pool).await.expect("analysed");
    let page = PageRequest::newest(25, None);
    let none = RowFilter::all();
    let everything = Viewer::everything(OffsetDateTime::UNIX_EPOCH);
    let first = viewer(user(1));
    for place in [1_003_000, 1_250_015, 1_499_995] {
        let then = AsOf::AsOf(Position(place));
        let number = u32::try_from((place - 1_000_000) / 100).expect("small");
        let newest = JobId(uuid::Uuid::from_u128(u128::from(number)));
        let one = read_model::find::<Jobs>(&pool, &everything, then, newest.0);
        let (found, rows) = cost(&pool, "one job", one).await;
        assert!(found.expect("readable").is_some(), "job {number} as of {place}");
        assert!(rows <= 10, "one job as of {place}: {rows} rows");
        let own = read_model::page::<Jobs>(&pool, &first, then, &none, &page);
        let (found, rows) = cost(&pool, "one's own jobs", own).await;
        assert!(!found.expect("readable").rows.is_empty());
        assert!(rows <= 1_000, "one's own jobs as of {place}: {rows} rows");
        let (before, rows) = cost(&pool, "the queue", queue::places(&pool, then, &[newest])).await;
        before.expect("readable");
        assert!(rows <= 50, "the queue as of {place}: {rows} rows");
        let (found, rows) = cost(&pool, "rights", rights::of_user(&pool, then, user(1))).await;
        let rights = found.expect("readable").expect("an account");
        assert!(!rights.assignments.is_empty());
        assert!(rows <= 30, "rights as of {place}: {rows} rows");
        let own = read_model::page::<Projects>(&pool, &first, then, &none, &page);
        let (found, rows) = cost(&pool, "one's own projects", own).await;
        found.expect("readable");
        assert!(rows <= 300, "one's own projects as of {place}: {rows} rows");
    }
    let then = AsOf::AsOf(Position(1_250_000));
    let (found, rows) = cost(
        &pool,
        "all jobs",
        read_model::page::<Jobs>(&pool, &everything, then, &none, &page),
    )
    .await;
    assert_eq!(found.expect("readable").rows.len(), 25);
    println!("a page of all jobs in the middle of the past: {rows} rows");
    let holders = rights::holders(&pool, then, Action::RolesGrant, &page);
    let (found, rows) = cost(&pool, "holders", holders).await;
    assert_eq!(found.expect("readable").rows.len(), 25);
    assert!(rows <= 2_000, "holders: {rows} rows");
}
