//! A log, a database for read models, and events to put into the log.

use std::{sync::Arc, time::Duration};

use domain::{
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Metadata, NewEvent, Position, StreamId, StreamWrite},
    id::{Ids, SystemIds},
};
use event_store::postgres::{PostgresEventStore, Settings as StoreSettings, address, app_pool};
use projections::{
    read_model::Projector,
    rebuild::{Comparison, Limits, Outcome, Rebuild, RebuildOptions},
    runner::{Progress, Settings, start_with},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tests::harness::{Database, database};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take before a test gives up.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes projections.
pub(super) type Projectors = fn() -> Vec<Box<dyn Projector>>;

/// A log and a database.
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) store: Arc<PostgresEventStore>,
    pub(super) pool: PgPool,
}

/// A runner.
pub(super) struct Running {
    pub(super) progress: Progress,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it in order.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

/// The settings of impatient tests.
pub(super) fn quick() -> Settings {
    Settings {
        lease: Duration::from_secs(2),
        look: Duration::from_millis(100),
        ..Settings::default()
    }
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let database = database().await;
        let options = address(&database.url).expect("the harness gives a URL");
        let store = PostgresEventStore::start(options, StoreSettings::default(), Arc::new(SystemClock))
            .await
            .expect("the store starts");
        let pool = app_pool(&database.url, 8).await.expect("a pool");
        Self {
            database,
            store,
            pool,
        }
    }

    pub(super) fn start(&self, projectors: Projectors) -> Running {
        self.start_on(self.store.clone(), projectors)
    }

    pub(super) fn start_on(
        &self,
        store: Arc<dyn EventStore>,
        projectors: impl Fn() -> Vec<Box<dyn Projector>>,
    ) -> Running {
        let stop = CancellationToken::new();
        let (progress, task) = start_with(store, self.pool.clone(), projectors, stop.clone(), quick());
        Running { progress, stop, task }
    }

    /// Records one append.
    pub(super) async fn record(&self, writes: Vec<(StreamId, Vec<NewEvent>)>) -> Position {
        let writes = writes.into_iter().map(|(stream, events)| StreamWrite {
            stream,
            expected: Expected::Any,
            events,
        });
        let append = Append {
            writes: writes.collect(),
            meta: Metadata {
                actor: "user:test".to_owned(),
                ..Metadata::default()
            },
        };
        self.store.append(append).await.expect("recorded").position
    }

    /// Records that `count` projects were founded.
    pub(super) async fn projects(&self, count: usize) -> Position {
        let mut last = Position::START;
        let mut left = count;
        while left > 0 {
            let some = left.min(100);
            last = self
                .record((0..some).map(|_| project(SystemIds.next(), "P")).collect())
                .await;
            left -= some;
        }
        last
    }

    /// Records an event that no project can be folded from.
    pub(super) async fn bad_project(&self) -> Position {
        let bad = event("projects.ProjectCreated", &json!({ "project": "none" }));
        self.record(vec![(
            stream("projects.project", "prj", SystemIds.next()),
            vec![bad],
        )])
        .await
    }

    pub(super) async fn rebuild(
        &self,
        projectors: Projectors,
        options: RebuildOptions,
        limits: Limits,
    ) -> Vec<Outcome> {
        let rebuild = self.begin().await.limited(limits);
        let projectors = projectors().into_iter().map(Arc::from).collect();
        let outcomes = rebuild.run(projectors, options, &|_| ()).await.expect("rebuilt");
        rebuild.end().await.expect("given back");
        outcomes
    }

    /// The right to rebuild, as soon as it is free.
    pub(super) async fn begin(&self) -> Rebuild {
        eventually(async || {
            Rebuild::begin(self.store.clone(), self.pool.clone(), Duration::from_secs(10))
                .await
                .expect("asked")
        })
        .await
    }

    /// Compares the live tables with fresh folds; leaves no shadow behind.
    pub(super) async fn check(&self, projectors: Projectors) -> Vec<Comparison> {
        let options = RebuildOptions {
            compare: true,
            swap: false,
            discard: true,
        };
        let outcomes = self.rebuild(projectors, options, Limits::default()).await;
        assert_eq!(outcomes.len(), projectors().len(), "each is compared");
        outcomes
            .into_iter()
            .map(|outcome| {
                outcome
                    .comparison
                    .unwrap_or_else(|| panic!("{} was not compared", outcome.name))
            })
            .collect()
    }

    /// How many rows `table` of audit entries has, of which each two positions of the log share one, and in how many of them
    /// the later one stands.
    pub(super) async fn rows_put_last(&self, table: &str) -> (i64, i64) {
        let owner = sqlx::PgPool::connect(&self.database.url)
            .await
            .expect("as the owner");
        let statement = format!(
            "select count(*), count(*) filter (where e.pos = (select max(o.pos) from event o where o.pos / 2 = t.position))
             from {table} t join event e on e.id = t.event_id"
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(statement)).fetch_one(&owner);
        rows.await.expect("counted")
    }

    pub(super) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&self.pool)
            .await
            .expect("a count")
    }
}

/// How many tables each projection writes: what happened once is a row in each of them, the present and its past.
pub(super) fn tables(projectors: Projectors) -> Vec<u64> {
    let counts = projectors()
        .into_iter()
        .map(|projector| projector.tables().len() as u64);
    counts.collect()
}

/// Asks until there is an answer.
pub(super) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, asking)
        .await
        .expect("it never came about")
}

pub(super) fn event(kind: &str, data: &Value) -> NewEvent {
    let mut declared = domain::event_registry::declarations();
    let fields = declared.find(|fields| fields.kind == kind);
    NewEvent {
        id: SystemIds.next(),
        kind: kind.to_owned(),
        schema_version: fields.map_or(1, |fields| fields.version),
        data: RawValue::from_string(data.to_string()).expect("JSON"),
    }
}

pub(super) fn stream(category: &str, prefix: &str, key: Uuid) -> StreamId {
    StreamId::new(category, &format!("{prefix}_{}", key.simple()))
}

/// The founding of a project.
pub(super) fn project(id: Uuid, name: &str) -> (StreamId, Vec<NewEvent>) {
    let data = json!({ "project": id, "owner": Uuid::nil(), "name": name, "description": "" });
    (
        stream("projects.project", "prj", id),
        vec![event("projects.ProjectCreated", &data)],
    )
}
