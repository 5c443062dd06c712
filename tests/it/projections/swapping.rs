//! Swaps under load: no query fails, nobody waits for long, and what the live table was stays in place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::id::{Ids, SystemIds};
use projections::{
    audit::entry::Entries,
    history::AsOf,
    projects::project::Projects,
    read_model::{self, ReadError, RowFilter, Table, Viewer},
    rebuild::{Limits, RebuildOptions},
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::fixture::{Fixture, Projectors, TIMEOUT, project};

const BOTH: Projectors = || {
    vec![
        Box::new(Table::<Projects>::default()),
        Box::new(Table::<Entries>::default()),
    ]
};
const SWAP: RebuildOptions = RebuildOptions {
    compare: false,
    swap: true,
    discard: false,
};

/// How many projects there are.
async fn count(pool: &sqlx::PgPool) -> Result<i64, ReadError> {
    let everything = Viewer::everything(OffsetDateTime::UNIX_EPOCH);
    read_model::count::<Projects>(pool, &everything, AsOf::Now, &RowFilter::all()).await
}

/// Readers with prepared statements, writers that read their own writes, and swap after swap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_query_fails_while_tables_are_swapped() {
    let fixture = Arc::new(Fixture::new().await);
    let runner = fixture.start(BOTH);
    let last = fixture.projects(200).await;
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    let stop = CancellationToken::new();
    let reads = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (fixture, stop, reads) = (fixture.clone(), stop.clone(), reads.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.is_cancelled() {
                let counted = count(&fixture.pool).await;
                let counted = counted.expect("a query was refused");
                let joined = sqlx::query(
                    "select to_jsonb(t)::text from projects_project t
                     join audit_entry a on a.subject = 'prj_' || replace(t.id::text, '-', '')",
                );
                let rows = joined
                    .fetch_all(&fixture.pool)
                    .await
                    .expect("a query was refused");
                assert!(counted >= 200 && rows.len() >= 200, "rows went away");
                reads.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..2 {
        let (fixture, stop, progress) = (fixture.clone(), stop.clone(), runner.progress.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.is_cancelled() {
                let id = SystemIds.next();
                let position = fixture.record(vec![project(id, "mine")]).await;
                progress
                    .wait_for_position(position, TIMEOUT)
                    .await
                    .expect("one's own write is there in time");
                let mine = sqlx::query("select 1 from projects_project where id = $1").bind(id);
                let mine = mine.fetch_all(&fixture.pool).await.expect("a query was refused");
                assert_eq!(mine.len(), 1, "one's own write is not there");
            }
        }));
    }
    let before = reads.load(Ordering::SeqCst);
    for _ in 0..6 {
        let outcomes = fixture.rebuild(BOTH, SWAP, Limits::default()).await;
        assert!(outcomes.iter().all(|outcome| outcome.swapped), "{outcomes:?}");
    }
    stop.cancel();
    for task in tasks {
        task.await.expect("no task failed");
    }
    assert!(reads.load(Ordering::SeqCst) > before, "nobody read meanwhile");
    assert_eq!(
        fixture
            .count("select sum(generation)::bigint from projection_checkpoint")
            .await,
        12
    );
    for comparison in fixture.check(BOTH).await {
        assert!(comparison.is_equal(), "{comparison:?}");
    }
    runner.end().await;
}

/// A long query delays the swap, not the queries that come after it.
#[tokio::test]
async fn a_long_query_does_not_make_others_wait() {
    let fixture = Fixture::new().await;
    let last = fixture.projects(5).await;
    let runner = fixture.start(BOTH);
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("folded");
    let mut long = fixture.pool.begin().await.expect("a transaction");
    sqlx::query("select count(*) from projects_project")
        .execute(&mut *long)
        .await
        .expect("reads");
    let ended = CancellationToken::new();
    let swapping = async {
        let outcomes = fixture
            .rebuild(
                || vec![Box::new(Table::<Projects>::default())],
                SWAP,
                Limits::default(),
            )
            .await;
        assert!(ended.is_cancelled(), "it was swapped under a reader");
        assert!(outcomes[0].swapped);
    };
    let others = async {
        for _ in 0..40 {
            let read = count(&fixture.pool);
            let read = tokio::time::timeout(Duration::from_secs(5), read).await;
            assert_eq!(read.expect("it waits for the swap").expect("answered"), 5);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ended.cancel();
        long.rollback().await.expect("ended");
    };
    tokio::join!(swapping, others);
    runner.end().await;
}

/// Indexes, defaults, checks, settings, statistics and grants are what they were, under the same names.
#[tokio::test]
async fn a_swapped_table_is_what_the_live_one_was() {
    let fixture = Fixture::new().await;
    let owner = sqlx::PgPool::connect(&fixture.database.url)
        .await
        .expect("as the owner");
    sqlx::raw_sql(
        "alter table jobs_job set (fillfactor = 70); alter table jobs_job add check (step >= 0);
         alter table jobs_job alter column step set default 3; alter table jobs_job alter column step set statistics 7;
         revoke delete on jobs_job from anneal_app; grant select on jobs_job to public",
    )
    .execute(&owner)
    .await
    .expect("altered");
    let shape = async || -> Vec<String> {
        sqlx::query_scalar(
            "select format('index %s %s', indexname, indexdef) from pg_indexes where tablename = 'jobs_job'
             union all
             select format('constraint %s %s', conname, pg_get_constraintdef(oid)) from pg_constraint
             where conrelid = 'jobs_job'::regclass
             union all
             select format('column %s %s %s %s', column_name, data_type, is_nullable, column_default)
             from information_schema.columns where table_name = 'jobs_job'
             union all
             select format('grant %s', a::text) from pg_class c, aclexplode(c.relacl) a
             where c.oid = 'jobs_job'::regclass
             union all
             select format('statistics %s %s', attname, attstattarget) from pg_attribute
             where attrelid = 'jobs_job'::regclass and attnum > 0
             union all
             select format('setting %s', reloptions) from pg_class where oid = 'jobs_job'::regclass
             order by 1",
        )
        .fetch_all(&owner)
        .await
        .expect("described")
    };
    let before = shape().await;
    let oid = "select 'jobs_job'::regclass::oid::bigint";
    let first = fixture.count(oid).await;
    let jobs: Projectors = || vec![Box::new(Table::<projections::jobs::job::Jobs>::default())];
    assert!(fixture.rebuild(jobs, SWAP, Limits::default()).await[0].swapped);
    assert_ne!(fixture.count(oid).await, first);
    assert_eq!(shape().await, before);
    // And once more, from the table that was swapped in.
    assert!(fixture.rebuild(jobs, SWAP, Limits::default()).await[0].swapped);
    assert_eq!(shape().await, before);
}
