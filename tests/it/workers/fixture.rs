//! What the tests of workers stand on: a database with an owner, a project and a dataset, and any number of
//! processes beside each other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::{
    access::role::SeedRoles,
    aggregate::{Aggregate, Event, decode},
    authz::{Principal, Visibility},
    datasets::{
        dataset::{AddDatasetVersion, CreateDataset},
        format::{Format, Summary},
    },
    id::{DatasetId, ExperimentId, Ids, JobId, ModelId, ProjectId, SystemIds, UserId, WorkerId},
    identity::{
        registration::{CreateFirstAdministrator, NewAccount},
        reservation::ReservationKey,
    },
    jobs::{
        job::{Job, JobEvent},
        progress::{Progress, ProgressEvent},
        requirements::JobRequirements,
        spec::{Architecture, HyperParameters, Method, Objective, Outputs, TrainingSpec},
        start::StartJob,
    },
    models::model::{Model, ModelEvent, ModelVersion},
    projects::{experiment::CreateExperiment, project::CreateProject},
};
use nix::{sys::signal::Signal, unistd::Pid};
use objects::{Existing, Key, Objects};
use tests::harness::{Database, database};
use tokio::time::Instant;

use super::process::Process;

/// How long anything may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(90);
/// What is trained on.
const TEXT: &str =
    "The miller's daughter counted the sacks twice. The river was low, and the wheel turned slowly.\n";

/// See the module.
pub(crate) struct Fixture {
    pub(super) database: Database,
    process: Process,
    pub(super) objects: Objects,
    room: tempfile::TempDir,
    owner: UserId,
    experiment: ExperimentId,
    dataset: DatasetId,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let process = Process::on(&database).await;
        let room = tempfile::tempdir().expect("a folder");
        let objects = Objects::open(
            &format!("file://{}/objects", room.path().display()),
            Arc::new(SystemIds),
        )
        .expect("an object store");
        let ids = SystemIds;
        let mut fixture = Self {
            database,
            process,
            objects,
            room,
            owner: UserId(ids.next()),
            experiment: ExperimentId(ids.next()),
            dataset: DatasetId(ids.next()),
        };
        fixture.furnish().await;
        fixture
    }

    async fn furnish(&mut self) {
        let system = Principal::System("test");
        self.process.execute(&system, &SeedRoles).await.expect("seeded");
        let account = NewAccount {
            user: self.owner,
            username: "owner".to_owned(),
            username_reservation: ReservationKey("username-1".to_owned()),
            email: "owner@example.org".to_owned(),
            email_reservation: ReservationKey("email-1".to_owned()),
            password: "never used".to_owned(),
            first_name: None,
            last_name: None,
            company: None,
            division: None,
            department: None,
        };
        self.process
            .execute(&system, &CreateFirstAdministrator { account })
            .await
            .expect("an owner");
        let (owner, name, description) = (self.owner, "ground".to_owned(), String::new());
        let principal = self.owner().await;
        let project = ProjectId(SystemIds.next());
        let command = CreateProject {
            project,
            owner,
            name: name.clone(),
            description: description.clone(),
        };
        self.process
            .execute(&principal, &command)
            .await
            .expect("a project");
        let (experiment, created_by) = (self.experiment, owner);
        let command = CreateExperiment {
            experiment,
            project,
            created_by,
            name: name.clone(),
            description: description.clone(),
        };
        self.process
            .execute(&principal, &command)
            .await
            .expect("an experiment");
        let (dataset, visibility) = (self.dataset, Visibility::Private);
        let command = CreateDataset {
            dataset,
            owner,
            name,
            description,
            visibility,
        };
        self.process
            .execute(&principal, &command)
            .await
            .expect("a dataset");
        let text = TEXT.repeat(60);
        let sha256 = put_text(&self.objects, &text).await;
        let command = AddDatasetVersion {
            upload: None,
            dataset,
            sha256,
            bytes: text.len() as u64,
            format: Format::PlainText,
            summary: Summary::default(),
            file_name: "mill.txt".to_owned(),
        };
        self.process
            .execute(&principal, &command)
            .await
            .expect("a version");
    }

    /// Puts the dataset into another object store as well.
    pub(crate) async fn furnish_store(&self, objects: &Objects) {
        put_text(objects, &TEXT.repeat(60)).await;
    }

    /// The owner, as the directory knows it now.
    pub(crate) async fn owner(&self) -> Principal {
        self.process.directory.at_head(TIMEOUT).await.expect("up to date");
        self.process
            .directory
            .user(self.owner)
            .expect("the owner has an account")
    }

    /// Queues the training of a tiny model; a checkpoint each 20 steps.
    pub(crate) async fn queue(&self, name: &str, steps: u32, max_attempts: u32) -> JobId {
        self.queue_under(name, steps, max_attempts, JobRequirements::default())
            .await
    }

    /// The same under these requirements.
    pub(crate) async fn queue_under(
        &self,
        name: &str,
        steps: u32,
        max_attempts: u32,
        requirements: JobRequirements,
    ) -> JobId {
        let shape = Architecture {
            layers: 1,
            heads: 2,
            width: 32,
            context: 32,
            vocabulary: 300,
        };
        let parameters = HyperParameters {
            steps,
            batch_size: 2,
            sequence_length: 32,
            checkpoint_every: 20,
            evaluate_every: 0,
            ..HyperParameters::default()
        };
        let job = JobId(SystemIds.next());
        let command = StartJob {
            job,
            model: ModelId(SystemIds.next()),
            owner: self.owner,
            name: name.to_owned(),
            experiment: self.experiment,
            dataset: (self.dataset, None),
            base: None,
            base_shape: None,
            spec: TrainingSpec {
                outputs: Outputs::default(),
                method: Method::Scratch(shape),
                objective: Objective::default(),
                parameters,
            },
            max_attempts,
            requirements,
            longest_run_seconds: None,
            cloned_from: None,
        };
        self.process
            .execute(&self.owner().await, &command)
            .await
            .expect("queued");
        job
    }

    /// All that is recorded about a job.
    pub(crate) async fn history(&self, job: JobId) -> Vec<JobEvent> {
        self.events::<Job>(job).await
    }

    /// All progress that is recorded of a job.
    pub(crate) async fn progress(&self, job: JobId) -> Vec<ProgressEvent> {
        self.events::<Progress>(job).await
    }

    async fn events<A: Aggregate>(&self, key: impl std::fmt::Display) -> Vec<A::Event>
    where
        A::Event: Event,
    {
        let events = self
            .process
            .ports
            .store
            .load(&A::stream(key), 0)
            .await
            .expect("readable");
        events
            .iter()
            .map(|event| decode::<A::Event>(event).expect("decodes"))
            .collect()
    }

    /// Waits for the end of a job, and answers with its history.
    pub(crate) async fn until_over(&self, job: JobId) -> Vec<JobEvent> {
        let began = Instant::now();
        loop {
            let history = self.history(job).await;
            let mut state = Job::default();
            history.iter().for_each(|event| state.evolve(event));
            if state.state.is_final() {
                return history;
            }
            assert!(began.elapsed() < TIMEOUT, "the job is not over: {history:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < TIMEOUT, "it did not come true: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The hash of the model that came of a job, as recorded; its files are checked against it.
    pub(crate) async fn result(&self, job: JobId) -> String {
        let version = self.version(job).await;
        let folder = self.room.path().join("objects").join(&version.artifact);
        for file in &version.files {
            let found = ml::files::describe(&folder.join(&file.name)).expect("stored");
            assert_eq!((&found.sha256, found.bytes), (&file.sha256, file.bytes));
        }
        version.sha256
    }

    /// The hash of the model that came of a job, as recorded.
    pub(crate) async fn recorded_hash(&self, job: JobId) -> String {
        self.version(job).await.sha256
    }

    async fn version(&self, job: JobId) -> ModelVersion {
        let model = self.history(job).await.iter().find_map(|event| match event {
            JobEvent::Completed { model, .. } => Some(model.model),
            _ => None,
        });
        let events = self.events::<Model>(model.expect("completed")).await;
        let version = events.iter().find_map(|event| match event {
            ModelEvent::VersionAdded(version) => Some(version.clone()),
            ModelEvent::Registered { .. } => None,
        });
        let version = version.expect("a version");
        assert_eq!(workers::folder_sha256(&version.files), version.sha256);
        version
    }

    /// JB-5: each attempt's batches follow each other, and none of an older one comes after a newer one's.
    pub(crate) async fn assert_progress_in_order(&self, job: JobId) {
        let all = self.progress(job).await;
        let places: Vec<(u32, u32)> = all.iter().map(ProgressEvent::place).collect();
        assert!(!places.is_empty() && places.is_sorted(), "{places:?}");
    }

    /// Where the jobs have their folders.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.room.path().join("jobs")
    }

    /// Where this test may put what it needs.
    pub(crate) fn room(&self) -> &Path {
        self.room.path()
    }

    /// How many checkpoints an attempt has on the disk.
    pub(crate) fn checkpoints(&self, job: JobId, attempt: u32) -> usize {
        let folder = self
            .jobs()
            .join(job.to_string())
            .join(attempt.to_string())
            .join("checkpoints");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
            .count()
    }

    /// Waits until the log has a checkpoint of the job.
    pub(crate) async fn until_saved(&self, job: JobId) {
        let saved = |event: &JobEvent| matches!(event, JobEvent::CheckpointSaved { .. });
        self.until_recorded(job, 1, saved).await;
    }

    /// Waits until the log has so many events of the job of this kind.
    pub(crate) async fn until_recorded(&self, job: JobId, count: usize, wanted: impl Fn(&JobEvent) -> bool) {
        let began = Instant::now();
        loop {
            let history = self.history(job).await;
            if history.iter().filter(|event| wanted(event)).count() >= count {
                return;
            }
            assert!(began.elapsed() < TIMEOUT, "it is not recorded: {history:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn has_checkpoint(&self, job: JobId, attempt: u32) -> bool {
        self.checkpoints(job, attempt) > 0
    }

    /// The process that trains a job now.
    pub(crate) fn trainer(&self, job: JobId) -> Option<Pid> {
        let job = job.to_string();
        std::fs::read_dir("/proc")
            .expect("processes are listed")
            .flatten()
            .find_map(|entry| {
                let id: i32 = entry.file_name().to_str()?.parse().ok()?;
                let command = std::fs::read(entry.path().join("cmdline")).ok()?;
                String::from_utf8_lossy(&command)
                    .contains(&job)
                    .then(|| Pid::from_raw(id))
            })
    }

    /// Whether that process is gone.
    pub(crate) fn is_gone(&self, trainer: Pid) -> bool {
        nix::sys::signal::kill(trainer, None).is_err()
    }

    /// Sends a signal to a process that trains.
    pub(crate) fn signal(&self, trainer: Pid, signal: Signal) {
        nix::sys::signal::kill(trainer, signal).expect("signalled");
    }

    /// Waits until the worker's lease of a job is written down.
    pub(crate) async fn until_leased(&self, job: JobId) {
        let began = Instant::now();
        while workers::lease::queue::lease_statuses(&self.process.pool, &[job])
            .await
            .expect("readable")
            .is_empty()
        {
            assert!(began.elapsed() < TIMEOUT, "no lease was written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Loses all leases, as a database restored from a backup would.
    pub(crate) async fn forget_leases(&self) {
        sqlx::query("delete from jobs_lease")
            .execute(&self.process.pool)
            .await
            .expect("deleted");
    }

    pub(crate) fn fresh(&self) -> WorkerId {
        WorkerId(SystemIds.next())
    }

    pub(crate) fn uuid(&self) -> uuid::Uuid {
        SystemIds.next()
    }
}

/// Puts the dataset's bytes into an object store; their hash.
async fn put_text(objects: &Objects, text: &str) -> String {
    let sha256 = ml::files::sha256(text.as_bytes());
    let mut staged = objects.stage().await.expect("staged");
    staged.write(text.as_bytes()).await.expect("written");
    staged
        .publish(&Key::dataset(&sha256).expect("a key"), Existing::Keep)
        .await
        .expect("stored");
    sha256
}

/// The names of the events, in order, but for the time that is metered with the end of each attempt, and for what becomes
/// of checkpoints in the object store, which goes its own pace.
pub(crate) fn kinds(history: &[JobEvent]) -> Vec<&'static str> {
    history
        .iter()
        .filter(|event| {
            !matches!(
                event,
                JobEvent::Metered { .. }
                    | JobEvent::CheckpointStored { .. }
                    | JobEvent::CheckpointsReleased { .. }
            )
        })
        .map(|event| match event {
            JobEvent::Queued(_) => "Queued",
            JobEvent::Leased { .. } => "Leased",
            JobEvent::Started { .. } => "Started",
            JobEvent::CheckpointSaved { .. } => "CheckpointSaved",
            JobEvent::CheckpointStored { .. } => "CheckpointStored",
            JobEvent::CheckpointsReleased { .. } => "CheckpointsReleased",
            JobEvent::FilesStored { .. } => "FilesStored",
            JobEvent::Interrupted { .. } => "Interrupted",
            JobEvent::Completed { .. } => "Completed",
            JobEvent::Failed { .. } => "Failed",
            JobEvent::Cancelled { .. } => "Cancelled",
            JobEvent::PauseRequested { .. } => "PauseRequested",
            JobEvent::Paused { .. } => "Paused",
            JobEvent::Resumed { .. } => "Resumed",
            JobEvent::Restarted { .. } => "Restarted",
            JobEvent::PriorityChanged { .. } => "PriorityChanged",
            JobEvent::Metered { .. } => "Metered",
        })
        .collect()
}
