//! A log, a database for snapshots, and directories over them.
//!
//! One rule: what is kept is read and changed here as somebody would who may write to the table.

use std::{ops::Deref, sync::Arc, time::Duration};

use domain::{
    access::role::{Role, RoleEvent},
    aggregate::{Aggregate, encode},
    clock::Clock,
    event_store::{Append, EventStore, Expected, Metadata, Position, StreamId, StreamWrite},
    id::{Ids, SystemIds},
};
use event_store::{
    memory::MemoryEventStore,
    postgres::{PostgresEventStore, Settings, address, admin_pool, app_pool},
};
use projections::access::directory::{Directory, SnapshotKey, SnapshotSettings, Snapshots};
use sqlx::{PgPool, Row as _};
use tests::harness::{Database, app::TestClock, database};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::{happenings::role, reading::Reading};

/// How long anything may take before a test gives up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The secret of the installation.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// A snapshot whenever there is anything new.
pub(super) fn at_once() -> SnapshotSettings {
    SnapshotSettings {
        every: 1,
        at_stop: 1,
        pause: Duration::ZERO,
    }
}

/// No snapshot.
pub(super) fn never() -> SnapshotSettings {
    SnapshotSettings {
        every: u64::MAX,
        at_stop: u64::MAX,
        pause: Duration::ZERO,
    }
}

/// A log and a database.
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) clock: Arc<TestClock>,
    pub(super) pool: PgPool,
    store: Arc<dyn EventStore>,
}

/// A directory and what stops it.
pub(super) struct Running {
    directory: Directory,
    stop: CancellationToken,
}

impl Deref for Running {
    type Target = Directory;
    fn deref(&self) -> &Directory {
        &self.directory
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    pub(super) async fn at_head(&self) {
        self.directory.at_head(TIMEOUT).await.expect("it follows the log");
    }
}

/// A snapshot as it lies in the table.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) number: i64,
    pub(super) version: i32,
    pub(super) position: i64,
    pub(super) chain: Vec<u8>,
    pub(super) code: Vec<u8>,
    pub(super) content: Vec<u8>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let (database, clock) = (database().await, Arc::new(TestClock::default()));
        let options = address(&database.url).expect("the harness gives a URL");
        let store = PostgresEventStore::start(options, Settings::default(), clock.clone()).await;
        Self::over(database, clock, store.expect("the store starts")).await
    }

    pub(super) async fn in_memory() -> Self {
        let clock = Arc::new(TestClock::default());
        Self::over(database().await, clock.clone(), MemoryEventStore::new(clock)).await
    }

    async fn over(database: Database, clock: Arc<TestClock>, store: Arc<dyn EventStore>) -> Self {
        let pool = app_pool(&database.url, 8).await.expect("a pool");
        Self {
            database,
            clock,
            pool,
            store,
        }
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    pub(super) async fn head(&self) -> Position {
        self.store.head().await.expect("a head")
    }

    /// A directory that is started from what is kept, and what it has read of the log for that.
    pub(super) async fn directory(&self, settings: SnapshotSettings) -> (Running, Arc<Reading>) {
        self.directory_under(SECRET, settings).await
    }

    pub(super) async fn directory_under(
        &self,
        secret: &[u8],
        settings: SnapshotSettings,
    ) -> (Running, Arc<Reading>) {
        let (reading, stop) = (Reading::of(self.store.clone()), CancellationToken::new());
        let snapshots = Snapshots::new(self.pool.clone(), SnapshotKey::new(secret), settings);
        let directory = Directory::start_with(reading.clone(), snapshots, stop.clone()).await;
        let directory = directory.expect("it starts");
        (Running { directory, stop }, reading)
    }

    /// A directory that is folded from the log.
    pub(super) async fn folded(&self) -> (Running, Arc<Reading>) {
        let (reading, stop) = (Reading::of(self.store.clone()), CancellationToken::new());
        let directory = Directory::start(reading.clone(), stop.clone()).await;
        let directory = directory.expect("it starts");
        (Running { directory, stop }, reading)
    }

    pub(super) async fn stop(&self, running: Running) {
        running.stop.cancel();
        tokio::time::timeout(TIMEOUT, running.directory.ended())
            .await
            .expect("it ends");
    }

    /// Has a snapshot of everything that is recorded kept, and returns it.
    pub(super) async fn kept(&self) -> Stored {
        let (directory, _) = self.directory(at_once()).await;
        self.stop(directory).await;
        let newest = self.stored().await.into_iter().next().expect("a snapshot");
        assert_eq!(newest.position.unsigned_abs(), self.head().await.0);
        newest
    }

    /// What is kept, newest first.
    pub(super) async fn stored(&self) -> Vec<Stored> {
        let rows = sqlx::query("select * from access_directory_snapshot order by number desc")
            .fetch_all(&self.pool)
            .await
            .expect("readable");
        let stored = |row: &sqlx::postgres::PgRow| Stored {
            number: row.get("number"),
            version: row.get("version"),
            position: row.get("position"),
            chain: row.get("chain"),
            code: row.get("code"),
            content: row.get("content"),
        };
        rows.iter().map(stored).collect()
    }

    /// Up to where, newest first.
    pub(super) async fn positions(&self) -> Vec<u64> {
        let stored = self.stored().await;
        stored.iter().map(|one| one.position.unsigned_abs()).collect()
    }

    /// Puts `stored` in the place of everything that is kept, as somebody who may write to the table.
    pub(super) async fn put(&self, stored: &Stored) {
        let pool = admin_pool(&self.database.url, 1).await.expect("a pool");
        sqlx::query("delete from access_directory_snapshot")
            .execute(&pool)
            .await
            .expect("removed");
        let put = "insert into access_directory_snapshot (version, position, chain, code, content)
                   values ($1, $2, $3, $4, $5)";
        sqlx::query(put)
            .bind(stored.version)
            .bind(stored.position)
            .bind(&stored.chain)
            .bind(&stored.code)
            .bind(&stored.content)
            .execute(&pool)
            .await
            .expect("put");
        pool.close().await;
    }

    /// Records one event.
    pub(super) async fn record<A: Aggregate>(&self, key: impl std::fmt::Display, event: &A::Event) {
        self.append(vec![write::<A>(key, event)]).await;
    }

    /// Records one that the directory does not fold.
    pub(super) async fn another_event(&self) {
        let mut one = write::<Role>("elsewhere", &RoleEvent::Defined(role("elsewhere", 0)));
        one.stream = StreamId::new("test.elsewhere", "1");
        self.append(vec![one]).await;
    }

    pub(super) async fn append(&self, writes: Vec<StreamWrite>) {
        let meta = Metadata {
            actor: "system:test".to_owned(),
            ..Metadata::default()
        };
        self.store
            .append(Append { writes, meta })
            .await
            .expect("recorded");
    }
}

/// One event of the stream of `key`.
pub(super) fn write<A: Aggregate>(key: impl std::fmt::Display, event: &A::Event) -> StreamWrite {
    StreamWrite {
        stream: A::stream(key),
        expected: Expected::Any,
        events: vec![encode(SystemIds.next(), event).expect("an event")],
    }
}

/// Records `event` again and again in the log at `url`, beside whatever else writes there.
pub(super) async fn long<A: Aggregate>(url: &str, key: &str, event: &A::Event, count: usize) {
    let options = address(url).expect("a URL");
    let clock = Arc::new(domain::clock::SystemClock);
    let store = PostgresEventStore::start(options, Settings::default(), clock).await;
    let store = store.expect("it starts");
    for _ in 0..count.div_ceil(100) {
        let mut one = write::<A>(key, event);
        one.events = (0..100)
            .map(|_| encode(SystemIds.next(), event).expect("an event"))
            .collect();
        let append = Append {
            writes: vec![one],
            meta: Metadata::default(),
        };
        store.append(append).await.expect("recorded");
    }
    store.close(TIMEOUT).await;
}
