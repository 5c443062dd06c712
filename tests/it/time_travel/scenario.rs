//! Random histories: users who come and go, roles, projects, datasets and jobs, all through the domain's
//! commands, on a clock that is moved by hand.
//!
//! One rule: a seed gives the same choices again; what a command refuses is part of the history.

mod jobs;
mod people;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::{
    access::{
        assignment::{GrantRole, RemoveRole},
        builtin,
        role::{Role, RoleEvent, SeedRoles},
    },
    aggregate::{Aggregate, decode, encode},
    authz::{Principal, Visibility},
    clock::Clock,
    datasets::{
        dataset::{AddDatasetVersion, CreateDataset},
        format::{Format, Summary},
    },
    event_store::{Append, EventStore, Expected, Metadata, StreamWrite},
    execute::{Command, ExecuteError, Ports, execute},
    id::{DatasetId, ExperimentId, Ids, JobId, ModelId, ProjectId, SystemIds, UserId, WorkerId},
    identity::{
        account_status::SetUserActive,
        registration::{CreateFirstAdministrator, NewAccount, Register},
        reservation::ReservationKey,
        user::VerifyEmail,
    },
    jobs::{
        control::{ChangeJobPriority, PauseJob, RestartJob, ResumeJob},
        job::{Checkpoint, Job, RestartFrom},
        lease::{InterruptJob, LeaseJob},
        progress::{Batch, LogLine, Point, ReportProgress},
        report::{AttemptReport, Report},
        requirements::{JobRequirements, WorkerCapabilities},
        spec::{Architecture, HyperParameters, Method, Objective, Outputs, TrainingSpec},
        start::{CancelJob, StartJob},
    },
    projects::{experiment::CreateExperiment, project::CreateProject},
    rights::LogRights,
};
use event_store::postgres::{PostgresEventStore, Settings, address, app_pool};
use projections::{
    access::directory::Directory,
    rebuild::{Rebuild, RebuildOptions},
    runner::Progress,
};
use sqlx::PgPool;
use tests::harness::{Database, database};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

/// How long anything may take on a busy machine.
pub(super) const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(90);

/// A clock that only moves when told to.
pub(super) struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> OffsetDateTime {
        let began = time::macros::datetime!(2026-01-01 00:00 UTC);
        began + Duration::microseconds(self.0.load(Ordering::SeqCst))
    }
}

/// Numbers that look random and come again with the seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let end = u64::try_from(from.len()).ok().filter(|end| *end > 0)?;
        from.get(usize::try_from(self.below(end)).ok()?).cloned()
    }
}

/// Who and what a history is about.
#[derive(Default)]
pub(super) struct Participants {
    pub(super) users: Vec<UserId>,
    pub(super) projects: Vec<(ProjectId, UserId)>,
    pub(super) experiments: Vec<(ExperimentId, UserId)>,
    pub(super) datasets: Vec<(DatasetId, UserId)>,
    pub(super) jobs: Vec<JobId>,
}

/// The running read side.
pub(super) struct Reading {
    pub(super) progress: Progress,
    directory: Directory,
    stop: CancellationToken,
}

/// A system on a database of its own, and what has happened in it.
pub(super) struct Scenario {
    pub(super) pool: PgPool,
    pub(super) store: Arc<PostgresEventStore>,
    pub(super) clock: Arc<HandClock>,
    pub(super) reading: Reading,
    pub(super) participants: Participants,
    random: Random,
    ports: Ports,
    _database: Database,
}

async fn read(store: &Arc<PostgresEventStore>, pool: &PgPool) -> Reading {
    let stop = CancellationToken::new();
    let (progress, _task) =
        projections::runner::start(store.clone(), pool.clone(), projections::all, stop.clone());
    let directory = Directory::start(store.clone(), stop.clone()).await;
    Reading {
        progress,
        directory: directory.expect("the directory starts"),
        stop,
    }
}

impl Scenario {
    /// A set-up system with an administrator.
    pub(super) async fn start(seed: u64) -> Self {
        let database = database().await;
        let clock = Arc::new(HandClock(AtomicI64::new(0)));
        let options = address(&database.url).expect("the harness gives a URL");
        let store = PostgresEventStore::start(options, Settings::default(), clock.clone())
            .await
            .expect("the store starts");
        let pool = app_pool(&database.url, 6).await.expect("a pool");
        let ports = Ports::new(
            store.clone(),
            clock.clone(),
            Arc::new(SystemIds),
            Arc::new(LogRights),
        );
        let mut scenario = Self {
            reading: read(&store, &pool).await,
            pool,
            store,
            clock,
            participants: Participants::default(),
            random: Random(seed),
            ports,
            _database: database,
        };
        scenario.attempt(&Principal::System("test"), SeedRoles).await;
        let account = scenario.account();
        scenario.participants.users.push(account.user);
        scenario
            .attempt(&Principal::System("test"), CreateFirstAdministrator { account })
            .await;
        scenario
    }

    /// Folds every read model anew beside the running system, compares the past that comes of it row for row
    /// with the one that is served, and puts it in its place.
    pub(super) async fn fold_anew(&mut self) {
        let length = std::time::Duration::from_secs(30);
        let rebuild = Rebuild::begin(self.store.clone(), self.pool.clone(), length).await;
        let rebuild = rebuild
            .expect("the database answers")
            .expect("nobody else rebuilds");
        let options = RebuildOptions {
            compare: true,
            swap: true,
            discard: false,
        };
        let projectors = projections::all().into_iter().map(Arc::from).collect();
        let outcomes = rebuild.run(projectors, options, &|_| ()).await.expect("rebuilt");
        for outcome in outcomes {
            let comparison = outcome.comparison.as_ref().expect("compared");
            assert!(comparison.is_equal(), "{}: {comparison:?}", outcome.name);
            assert!(outcome.swapped, "{}: {:?}", outcome.name, outcome.failure);
        }
        rebuild.end().await.expect("ended");
        self.settle().await;
    }

    /// Waits until the read models show everything.
    pub(super) async fn settle(&self) {
        let head = self.store.head().await.expect("a head");
        self.reading
            .progress
            .wait_for_position(head, TIMEOUT)
            .await
            .expect("the read models follow");
    }

    /// `count` random commands.
    pub(super) async fn happen(&mut self, count: u32) {
        for _ in 0..count {
            // Often at the same time as the one before.
            let pause = self.random.below(3) * self.random.below(5_000_000);
            self.clock
                .0
                .fetch_add(i64::try_from(pause).expect("small"), Ordering::SeqCst);
            match self.random.below(24) {
                0 => self.register().await,
                1..=3 => self.roles().await,
                4 => self.switch().await,
                5 => self.define().await,
                6 => self.project().await,
                7 => self.experiment().await,
                8 => self.dataset().await,
                9 => self.version().await,
                10..=12 => self.start_job().await,
                13..=14 => self.lease().await,
                15..=17 => self.report().await,
                18..=21 => self.progress().await,
                22 => self.interrupt().await,
                _ => self.cancel().await,
            }
        }
        self.settle().await;
    }

    async fn attempt<C: Command>(&self, principal: &Principal, command: C)
    where
        C::Refusal: std::fmt::Debug,
    {
        let meta = Metadata {
            actor: principal.actor(),
            ..Metadata::default()
        };
        match execute(&self.ports, principal, &meta, &command).await {
            Ok(_) | Err(ExecuteError::Refused(_) | ExecuteError::Denied(_)) => {}
            Err(error) => panic!("the system failed: {error:?}"),
        }
    }

    async fn principal(&self, user: UserId) -> Principal {
        self.reading.directory.at_head(TIMEOUT).await.expect("up to date");
        self.reading.directory.user(user).expect("an account")
    }

    async fn administrator(&self) -> Principal {
        self.principal(self.participants.users[0]).await
    }

    async fn anybody(&mut self) -> (UserId, Principal) {
        let user = self
            .random
            .pick(&self.participants.users)
            .expect("there is an administrator");
        (user, self.principal(user).await)
    }

    async fn job(&mut self) -> Option<(JobId, Job)> {
        let id = self.random.pick(&self.participants.jobs)?;
        let events = self.store.load(&Job::stream(id), 0).await.expect("readable");
        let mut job = Job::default();
        for event in &events {
            job.evolve(&decode(event).expect("decodes"));
        }
        Some((id, job))
    }

    async fn project(&mut self) {
        let (owner, principal) = self.anybody().await;
        let project = ProjectId(SystemIds.next());
        let command = CreateProject {
            project,
            owner,
            name: format!("project {}", self.participants.projects.len()),
            description: String::new(),
        };
        self.attempt(&principal, command).await;
        self.participants.projects.push((project, owner));
    }

    async fn experiment(&mut self) {
        let Some((project, owner)) = self.random.pick(&self.participants.projects) else {
            return self.project().await;
        };
        let experiment = ExperimentId(SystemIds.next());
        let command = CreateExperiment {
            experiment,
            project,
            created_by: owner,
            name: "experiment".to_owned(),
            description: String::new(),
        };
        self.attempt(&self.principal(owner).await, command).await;
        self.participants.experiments.push((experiment, owner));
    }

    async fn dataset(&mut self) {
        let (owner, principal) = self.anybody().await;
        let dataset = DatasetId(SystemIds.next());
        let command = CreateDataset {
            dataset,
            owner,
            name: "dataset".to_owned(),
            description: String::new(),
            visibility: Visibility::Public,
        };
        self.attempt(&principal, command).await;
        self.participants.datasets.push((dataset, owner));
        self.add_version(dataset, owner).await;
    }

    async fn version(&mut self) {
        if let Some((dataset, owner)) = self.random.pick(&self.participants.datasets) {
            self.add_version(dataset, owner).await;
        }
    }

    async fn add_version(&mut self, dataset: DatasetId, owner: UserId) {
        let command = AddDatasetVersion {
            upload: None,
            dataset,
            sha256: format!("{:064x}", self.random.below(u64::MAX)),
            bytes: self.random.below(4_000_000_000),
            format: Format::PlainText,
            summary: Summary::default(),
            file_name: "corpus.txt".to_owned(),
        };
        self.attempt(&self.principal(owner).await, command).await;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
