//! What a page of a list costs a person with few things, and an administrator, in a big installation.

use domain::id::UserId;
use projections::{
    datasets::dataset::{self, Datasets},
    history::AsOf,
    jobs::job::{self, Jobs},
    models::model::{self, Models},
    paging::{Column, PageRequest},
    projects::{
        experiment::{self, Experiments},
        project::{self, Projects},
    },
    read_model::{self, Access, ReadModel, RowFilter, Viewer},
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tests::harness::rows_read::{cost, fill};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{fixture::Fixture, histories::fold_one_of_each};

const FILLED: [&str; 6] = [
    "projects_project",
    "projects_experiment",
    "datasets_dataset",
    "models_model",
    "jobs_job",
    "sharing_party",
];
/// Rows that a page of 25 may read: those of the page for each reason why they are seen, and what is shared with one, for
/// each reason anew.
const FEW: i64 = 1_000;

fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

/// 20,000 things of each kind, of 5,000 users; a quarter of what can be public is; 50 things of others are shared with
/// user 1000, who has one in a thousand of each.
async fn fill_all(pool: &PgPool) {
    let uuid = |expression: &str| format!("lpad(to_hex({expression}), 32, '0')::uuid");
    let owner = uuid("case when i % 1000 = 0 then 1000 else i % 5000 + 2000 end");
    let common = format!(
        "'id', {id}, 'name', 'name ' || (i * 7919) % 5000, 'created_at', now()",
        id = uuid("i + 100000")
    );
    let owned = format!("{common}, 'owner_id', {owner}");
    let shared = format!("{owned}, 'visibility', case when i % 4 = 1 then 'public' else 'private' end");
    fill(pool, "projects_project", 20_000, &owned).await;
    fill(pool, "datasets_dataset", 20_000, &shared).await;
    fill(pool, "models_model", 20_000, &shared).await;
    let experiments = format!("{common}, 'project_id', {}", uuid("i + 100000"));
    fill(pool, "projects_experiment", 20_000, &experiments).await;
    let jobs = format!(
        "{owned}, 'dataset_id', {thing}, 'base_model_id', {thing}, 'model_id', {thing}, 'project_id', {thing}, \
         'experiment_id', {thing}, 'priority', i % 3, 'state', (array['queued', 'completed'])[i % 2 + 1]",
        thing = uuid("i + 100000")
    );
    fill(pool, "jobs_job", 20_000, &jobs).await;
    let shares = format!(
        "'entry', i::text, 'resource', {}, 'id', {}, 'revoked', false, 'until', null, \
         'kind', case when i % 100 = 99 then 'project' else 'user' end",
        uuid("(i % 50) * 37 + 100003"),
        uuid("case when i % 100 = 99 then i + 100000 when i <= 50 then 1000 else i % 5000 + 2000 end")
    );
    fill(pool, "sharing_party", 5_000, &shares).await;
    sqlx::query(AssertSqlSafe("analyze"))
        .execute(pool)
        .await
        .expect("analysed");
}

/// Pages of `M` in every order, both ways.
async fn pages<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    filter: &RowFilter,
    orders: &[Column],
    limit: i64,
) {
    for order in std::iter::once(None).chain(orders.iter().copied().map(Some)) {
        for ascending in [false, true] {
            let request = PageRequest {
                order,
                ascending,
                ..PageRequest::newest(25, None)
            };
            let what = format!(
                "{} by {order:?}, ascending {ascending}, {filter:?} {viewer:?}",
                M::TABLE
            );
            let question = read_model::page::<M>(pool, viewer, AsOf::Now, filter, &request);
            let (page, rows) = cost(pool, &FILLED, &what, question).await;
            assert!(!page.expect("readable").rows.is_empty(), "{what}");
            assert!(rows <= limit, "{what}: {rows} rows");
        }
    }
}

/// Pages of `M` in many things at once, in every order, both ways.
async fn nested<M: ReadModel>(
    pool: &PgPool,
    viewer: &Viewer,
    of: (Column, &[Uuid]),
    orders: &[Column],
    limit: i64,
) {
    let all = RowFilter::all();
    for order in std::iter::once(None).chain(orders.iter().copied().map(Some)) {
        for ascending in [false, true] {
            let request = PageRequest {
                order,
                ascending,
                ..PageRequest::newest(5, None)
            };
            let what = format!(
                "{} in things by {order:?}, ascending {ascending}, {viewer:?}",
                M::TABLE
            );
            let question = read_model::pages::<M>(pool, viewer, AsOf::Now, of, &all, &request);
            let (pages, rows) = cost(pool, &FILLED, &what, question).await;
            assert!(!pages.expect("readable").is_empty(), "{what}");
            assert!(rows <= limit, "{what}: {rows} rows");
        }
    }
    let question = read_model::counts::<M>(pool, viewer, AsOf::Now, of, &all);
    let (counts, rows) = cost(pool, &FILLED, "counts", question).await;
    assert!(!counts.expect("readable").is_empty());
    assert!(rows <= limit, "{} are counted: {rows} rows", M::TABLE);
}

/// GQ-3: the first page of each list in each order reads few rows, for a person with few things and for an administrator,
/// and so does what is found by an object.
#[tokio::test(flavor = "multi_thread")]
async fn pages_read_few_rows_of_a_big_installation() {
    let fixture = Fixture::new().await;
    fold_one_of_each(&fixture).await;
    let options = (*fixture.pool.connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options);
    let pool = pool.await.expect("a pool");
    fill_all(&pool).await;
    let rights = domain::rights::of_account(user(1000), &domain::decision::LoadedState::default());
    let few = Viewer::of(&rights, OffsetDateTime::UNIX_EPOCH);
    let everything = Viewer::everything(OffsetDateTime::UNIX_EPOCH);
    let all = RowFilter::all();
    for viewer in [&few, &everything] {
        pages::<Projects>(&pool, viewer, &all, &[project::NAME], FEW).await;
        pages::<Datasets>(&pool, viewer, &all, &[dataset::NAME], FEW).await;
        pages::<Models>(&pool, viewer, &all, &[model::NAME], FEW).await;
        pages::<Experiments>(&pool, viewer, &all, &[experiment::NAME], FEW).await;
    }
    pages::<Jobs>(&pool, &few, &all, &[job::NAME, job::PRIORITY], FEW).await;
    pages::<Jobs>(&pool, &everything, &all, &[job::NAME], FEW).await;
    for access in [Access::Owner, Access::Shared, Access::Public] {
        pages::<Models>(
            &pool,
            &few,
            &RowFilter::all().seen_by(access),
            &[model::NAME],
            FEW,
        )
        .await;
    }
    let things: Vec<Uuid> = (1..=20)
        .map(|number| Uuid::from_u128(100_000 + number * 1_000))
        .collect();
    for viewer in [&few, &everything] {
        let (experiments, jobs) = (
            (experiment::PROJECT, things.as_slice()),
            (job::EXPERIMENT, things.as_slice()),
        );
        nested::<Experiments>(&pool, viewer, experiments, &[experiment::NAME], FEW).await;
        nested::<Jobs>(&pool, viewer, jobs, &[job::NAME], FEW).await;
    }
    let public = RowFilter::all().is(model::VISIBILITY, "public");
    pages::<Models>(&pool, &few, &public, &[model::NAME], FEW).await;
    let thing = Uuid::from_u128(101_000);
    for column in [
        job::DATASET,
        job::BASE_MODEL,
        job::MODEL,
        job::PROJECT,
        job::EXPERIMENT,
    ] {
        pages::<Jobs>(
            &pool,
            &everything,
            &RowFilter::all().is(column, thing),
            &[job::NAME],
            FEW,
        )
        .await;
    }
    pages::<Jobs>(
        &pool,
        &everything,
        &RowFilter::all().is(job::OWNER, user(1000).0),
        &[job::NAME],
        FEW,
    )
    .await;
    let states = RowFilter::all().any_of(job::STATE, vec!["queued".to_owned()]);
    pages::<Jobs>(&pool, &few, &states, &[job::NAME], FEW).await;
    let named = RowFilter::all().contains(&[project::NAME], "NAME");
    pages::<Projects>(&pool, &few, &named, &[project::NAME], FEW).await;
}
