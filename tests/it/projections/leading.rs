//! Leadership: a leader that freezes loses it, and writes nothing when it thaws.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::event_store::{BoxFuture, RecordedEvent};
use projections::{
    history::History,
    lease::{FOLD, Lease},
    projects::project::Projects,
    read_model::{Builder, Described, ProjectError, Projector, Table, Target, Write},
};
use sqlx::PgConnection;
use tokio::sync::{Semaphore, watch};

use super::fixture::{Fixture, Projectors, TIMEOUT, eventually, tables};

/// The projection of projects, which freezes in the middle of its first page, inside the transaction.
struct Freezing {
    table: Table<Projects>,
    gate: Gate,
}

/// What it freezes at.
#[derive(Clone)]
struct Gate {
    thaw: Arc<Semaphore>,
    /// The transaction that it froze in.
    transaction: watch::Sender<Option<String>>,
}

/// Its fold.
struct FreezingFold {
    folding: Box<dyn Builder>,
    gate: Gate,
}

impl Builder for FreezingFold {
    fn missing(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectError> {
        self.folding.missing(event)
    }
    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        keys: BTreeSet<String>,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            self.folding.load(&mut *connection, keys).await?;
            if self.gate.transaction.borrow().is_none() {
                let id = sqlx::query_scalar("select pg_current_xact_id()::text")
                    .fetch_one(connection)
                    .await?;
                self.gate.transaction.send_replace(Some(id));
                self.gate.thaw.acquire().await.expect("never closed").forget();
            }
            Ok(())
        })
    }
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        self.folding.fold(event)
    }
    fn size(&self) -> usize {
        self.folding.size()
    }
    fn full(&self, limit: usize) -> bool {
        self.folding.full(limit)
    }
    fn crowded(&self, limit: usize) -> bool {
        self.folding.crowded(limit)
    }
    fn take(&mut self, indexed: bool, keep: bool) -> Result<Vec<Write>, ProjectError> {
        self.folding.take(indexed, keep)
    }
}

impl Projector for Freezing {
    fn name(&self) -> &'static str {
        self.table.name()
    }
    fn version(&self) -> i32 {
        self.table.version()
    }
    fn personal(&self) -> bool {
        self.table.personal()
    }
    fn history(&self) -> Option<History> {
        self.table.history()
    }
    fn categories(&self) -> &'static [&'static str] {
        self.table.categories()
    }
    fn tables(&self) -> Vec<Described> {
        self.table.tables()
    }
    fn builder(&self, target: Target, fresh: bool) -> Box<dyn Builder> {
        Box::new(FreezingFold {
            folding: self.table.builder(target, fresh),
            gate: self.gate.clone(),
        })
    }
    fn clear<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ProjectError>> {
        self.table.clear(connection)
    }
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        self.table.apply(connection, events)
    }
}

/// Says in which transaction a projection froze.
type Frozen = watch::Receiver<Option<String>>;

fn freezing() -> (impl Fn() -> Vec<Box<dyn Projector>>, Arc<Semaphore>, Frozen) {
    let thaw = Arc::new(Semaphore::new(0));
    let (transaction, seen) = watch::channel(None);
    let gate = Gate {
        thaw: thaw.clone(),
        transaction,
    };
    let make = move || -> Vec<Box<dyn Projector>> {
        vec![Box::new(Freezing {
            table: Table::default(),
            gate: gate.clone(),
        })]
    };
    (make, thaw, seen)
}

/// Two processes: the one that froze in the middle of a page is replaced, and its page is not written twice.
#[tokio::test]
async fn a_frozen_leader_is_replaced_and_its_page_is_folded_once() {
    let fixture = Fixture::new().await;
    let (make, thaw, mut frozen) = freezing();
    let first = fixture.start_on(fixture.store.clone(), make);
    fixture.projects(3).await;
    let led = frozen.wait_for(Option::is_some);
    drop(
        tokio::time::timeout(TIMEOUT, led)
            .await
            .expect("it leads")
            .expect("it lives"),
    );
    let second = fixture.start(|| vec![Box::new(Table::<Projects>::default())]);
    let mut last = fixture.projects(2).await;
    second
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("the second one took over");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 5);
    thaw.add_permits(10);
    last = fixture.projects(1).await;
    second
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("the second one goes on");
    let id = frozen.borrow().clone().expect("it froze in one");
    let status = eventually(async || {
        let status: Option<String> = sqlx::query_scalar("select pg_xact_status($1::xid8)")
            .bind(&id)
            .fetch_one(&fixture.pool)
            .await
            .expect("a status");
        status.filter(|status| status != "in progress")
    });
    assert_eq!(status.await, "aborted");
    first.end().await;
    let only: Projectors = || vec![Box::new(Table::<Projects>::default())];
    for (comparison, tables) in fixture.check(only).await.iter().zip(tables(only)) {
        assert!(comparison.is_equal(), "{comparison:?}");
        assert_eq!(comparison.same, 6 * tables);
    }
    second.end().await;
}

/// The epoch alone keeps a thawed leader from writing: nobody moved the checkpoint meanwhile.
#[tokio::test]
async fn a_thawed_leader_is_fenced_by_the_epoch() {
    let fixture = Fixture::new().await;
    let (make, thaw, mut frozen) = freezing();
    let runner = fixture.start_on(fixture.store.clone(), make);
    let last = fixture.projects(1).await;
    frozen.wait_for(Option::is_some).await.expect("it froze");
    // It runs out early, so that the server does not end the transaction before the fence has to.
    sqlx::query("update projection_lease set expires_at = '-infinity' where name = 'fold'")
        .execute(&fixture.pool)
        .await
        .expect("it runs out");
    let other = eventually(async || Lease::take(&fixture.pool, FOLD, TIMEOUT).await.expect("asked")).await;
    let id = frozen.borrow().clone().expect("it froze in one");
    thaw.add_permits(10);
    let status = eventually(async || {
        let status: Option<String> = sqlx::query_scalar("select pg_xact_status($1::xid8)")
            .bind(&id)
            .fetch_one(&fixture.pool)
            .await
            .expect("a status");
        status.filter(|status| status != "in progress")
    });
    assert_eq!(status.await, "aborted");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 0);
    // Once it is free again, the runner takes it again and goes on.
    other.release(&fixture.pool).await.expect("released");
    runner
        .progress
        .wait_for_position(last, TIMEOUT)
        .await
        .expect("it leads again");
    assert_eq!(fixture.count("select count(*) from projects_project").await, 1);
    runner.end().await;
}

/// Who is killed does not keep others waiting until the lease has run out: its session ends with it.
#[tokio::test]
async fn a_lease_is_free_once_its_holder_is_gone() {
    let fixture = Fixture::new().await;
    let take = async || {
        Lease::take(&fixture.pool, FOLD, Duration::from_secs(3_600))
            .await
            .expect("asked")
    };
    let first = take().await.expect("nobody has it");
    assert!(take().await.is_none(), "somebody has it");
    drop(first);
    let second = eventually(take).await;
    assert!(take().await.is_none(), "somebody has it again");
    second.release(&fixture.pool).await.expect("released");
    assert!(take().await.is_some(), "given back while the session goes on");
}

/// Only one holds a lease; one that lost it cannot renew it.
#[tokio::test]
async fn a_lease_has_one_holder_and_an_old_epoch_proves_nothing() {
    let fixture = Fixture::new().await;
    let short = Duration::from_millis(200);
    let first = Lease::take(&fixture.pool, FOLD, short)
        .await
        .expect("asked")
        .expect("free");
    let second = eventually(async || Lease::take(&fixture.pool, FOLD, TIMEOUT).await.expect("asked")).await;
    assert!(second.epoch() > first.epoch());
    let mut connection = fixture.pool.acquire().await.expect("a connection");
    assert!(!first.renew(&mut connection).await.expect("asked"));
    assert!(second.renew(&mut connection).await.expect("asked"));
    drop(connection);
    // Nor can it take it away from the one who has it.
    first.release(&fixture.pool).await.expect("nothing to do");
    assert!(
        Lease::take(&fixture.pool, FOLD, short)
            .await
            .expect("asked")
            .is_none()
    );
}
