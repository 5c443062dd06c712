//! One process of the system, as far as workers need it; several on one database are several machines.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use domain::{
    authz::Principal,
    clock::SystemClock,
    event_store::{EventStore, Metadata, Position},
    execute::{Command, ExecuteError, Ports, execute},
    id::SystemIds,
    jobs::job::KindName,
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use objects::Objects;
use projections::{access::directory::Directory, feed::FeedHub};
use sqlx::PgPool;
use tests::harness::Database;
use tokio_util::sync::CancellationToken;
use workers::{Worker, WorkerHandle, WorkerParts, WorkerSettings};

use super::fixture::Fixture;

/// How long a worker may be silent in these tests.
const LEASE: Duration = Duration::from_millis(1_500);

/// What works on the jobs of a process.
pub(crate) enum Training {
    /// The training engine.
    Real,
    /// A shell script; see [`super::misbehaviour`].
    Script(PathBuf),
}

/// One process of the system.
pub(crate) struct Process {
    pub(super) ports: Ports,
    pub(super) pool: PgPool,
    pub(super) directory: Directory,
    feed: FeedHub,
    stop: CancellationToken,
    workers: CancellationToken,
    labels: BTreeSet<String>,
    /// A machine of its own: another folder of jobs, and a way to the object store.
    machine: Option<(PathBuf, Objects)>,
}

impl Process {
    pub(crate) async fn start(fixture: &Fixture) -> Self {
        Self::on(&fixture.database).await
    }

    pub(super) async fn on(database: &Database) -> Self {
        let stop = CancellationToken::new();
        let options = address(&database.url).expect("the harness gives a URL");
        let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock))
            .await
            .expect("the store starts");
        let pool = app_pool(&database.url, 6).await.expect("a pool");
        drop(projections::runner::start(
            store.clone(),
            pool.clone(),
            projections::all,
            stop.clone(),
        ));
        let directory = Directory::start(store.clone(), stop.clone())
            .await
            .expect("the directory starts");
        let feed = FeedHub::start(store.clone(), stop.clone());
        let ports = Ports::new(
            store,
            Arc::new(SystemClock),
            Arc::new(SystemIds),
            Arc::new(LogRights),
        );
        Self {
            ports,
            pool,
            directory,
            feed,
            workers: stop.child_token(),
            stop,
            labels: BTreeSet::new(),
            machine: None,
        }
    }

    /// The same process, whose workers have these labels.
    pub(crate) fn labelled(mut self, labels: &[&str]) -> Self {
        self.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self
    }

    /// The same process on a machine of its own, with the folder of jobs `jobs` and the object store as it sees it.
    pub(crate) fn on_machine(mut self, jobs: PathBuf, objects: Objects) -> Self {
        self.machine = Some((jobs, objects));
        self
    }

    /// The same process, with another clock for decisions.
    pub(crate) fn at(mut self, clock: Arc<dyn domain::clock::Clock>) -> Self {
        self.ports.clock = clock;
        self
    }

    pub(crate) fn worker(&self, fixture: &Fixture, training: Training) -> WorkerHandle {
        let (program, arguments) = match training {
            Training::Script(path) => (path, Vec::new()),
            Training::Real => {
                let own = std::env::current_exe().expect("the test knows its own file");
                // One thread would print the name of the test in front of the first message.
                let arguments = [
                    "--nocapture",
                    "--test-threads=2",
                    "--exact",
                    "workers::training_process",
                ];
                (own, arguments.map(str::to_owned).to_vec())
            }
        };
        let shared = || (fixture.jobs(), fixture.objects.clone());
        let (folder, objects) = self.machine.clone().unwrap_or_else(shared);
        let parts = WorkerParts {
            cache: None,
            ports: self.ports.clone(),
            pool: self.pool.clone(),
            feed: self.feed.clone(),
            objects,
            settings: WorkerSettings {
                folder,
                threads: Some(1),
                place: workers::registration::devices::WorkerDevice::default(),
                lease: LEASE,
                program,
                arguments,
                code_version: "test".to_owned(),
                checkpoints_kept: 2,
                kinds: [KindName::Training].into(),
                models: None,
                labels: self.labels.clone(),
                memory_bytes: None,
            },
        };
        Worker::start(parts, self.workers.clone())
    }

    /// Shuts the workers of the process down.
    pub(crate) fn drain(&self) {
        self.workers.cancel();
    }

    pub(crate) async fn execute<C: Command>(
        &self,
        principal: &Principal,
        command: &C,
    ) -> Result<Position, ExecuteError<C::Refusal>> {
        let meta = Metadata {
            actor: principal.actor(),
            ..Metadata::default()
        };
        execute(&self.ports, principal, &meta, command).await
    }
}

impl Process {
    /// The same process with another way to the log.
    pub(crate) fn through(mut self, wrap: impl FnOnce(Arc<dyn EventStore>) -> Arc<dyn EventStore>) -> Self {
        self.ports.store = wrap(self.ports.store.clone());
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
