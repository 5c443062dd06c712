//! The job itself: what was ordered, and the state its facts fold into.
//!
//! `QUEUED → STARTING → RUNNING → COMPLETED | FAILED | CANCELLED`; a lost worker sends it back to `QUEUED`
//! with its checkpoint, people to `PAUSED` and back. One that failed or was cancelled can be restarted; one
//! that completed stays as it is, because a model names it. Attempts are numbered, over restarts too; the
//! number is the fencing token: what an older attempt reports is refused (JB-4).

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use super::event::{JobEvent, RestartFrom};
pub use super::kind::{BaseUse, DatasetUse, Import, ImportedFile, JobKind, KindName, Training};
use super::{checkpoint::StoredCheckpoint, requirements::JobRequirements};
use crate::{
    access::ledger::{self, LedgerEvent, QuotaLedger},
    aggregate::Aggregate,
    authz::Resource,
    decision::NewEvents,
    id::{JobId, ModelId, UserId, WorkerId},
    payload::Leaves,
};

/// State of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a worker.
    #[default]
    Queued,
    /// A worker has it and prepares.
    Starting,
    /// It works.
    Running,
    /// Somebody holds it back; it keeps its place among its owner's concurrent jobs.
    Paused,
    /// It ended with a model.
    Completed,
    /// It ended with an error.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl JobState {
    /// Its stable name, as recorded.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a worker has it.
    #[must_use]
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

/// Everything that was fixed when the job was queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Leaves)]
pub struct Order {
    /// The job.
    pub job: JobId,
    /// Its name.
    #[plain]
    pub name: String,
    /// The user who started it.
    pub owner: UserId,
    /// The model that will be registered.
    pub model: ModelId,
    /// What it does.
    #[leaves(last)]
    pub kind: JobKind,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
    /// When and where it may run.
    #[serde(
        rename = "terms",
        default,
        skip_serializing_if = "JobRequirements::are_default"
    )]
    pub requirements: JobRequirements,
    /// The job that it was made after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned_from: Option<JobId>,
}

impl Order {
    /// The training that was ordered, if it is one.
    #[must_use]
    pub fn training(&self) -> Option<&Training> {
        match &self.kind {
            JobKind::Training(training) => Some(training),
            JobKind::Import(_) => None,
        }
    }

    /// The import that was ordered, if it is one.
    #[must_use]
    pub fn import(&self) -> Option<&Import> {
        match &self.kind {
            JobKind::Import(import) => Some(import),
            JobKind::Training(_) => None,
        }
    }
}

/// A saved state that training can go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Checkpoint {
    /// After this many steps.
    pub step: u32,
    /// Where it lies, relative to the jobs folder of the workers.
    #[plain]
    pub location: String,
    /// Hash over its files.
    #[plain]
    pub sha256: String,
}

/// A job.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The recorded specification, once queued.
    pub order: Option<Order>,
    /// Where it stands.
    pub state: JobState,
    /// The number of the latest attempt; 0 before the first.
    pub attempt: u32,
    /// The worker of the latest attempt.
    pub worker: Option<WorkerId>,
    /// How many attempts ended in a way that counts against the job.
    pub losses: u32,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Checkpoints in the object store that are not released, oldest first.
    pub stored: Vec<StoredCheckpoint>,
    /// Where it stands in the queue: higher goes first.
    pub priority: i8,
    /// Why its worker shall give it back and it shall be paused, while that is under way.
    pub pausing: Option<String>,
    /// When the attempt that is under way began, and whether on a GPU; `None` when nobody wrote it down.
    pub leased: Option<(OffsetDateTime, bool)>,
    /// Milliseconds on workers since it was queued or restarted, without the attempt that is under way.
    pub used: u64,
    /// Checkpoints of attempts up to this one are not gone on from.
    pub floor: u32,
    /// Whether it was restarted and no worker has had it since.
    pub restarted: bool,
    /// Files that an import has stored since it was queued or restarted.
    pub imported: Vec<ImportedFile>,
}

impl Aggregate for Job {
    const CATEGORY: &'static str = "jobs.job";
    type Event = JobEvent;

    fn evolve(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Queued(order) => {
                self.priority = order.requirements.priority;
                self.order = Some(order.as_ref().clone());
            }
            JobEvent::Leased {
                attempt,
                worker,
                leased_at,
                gpu,
                ..
            } => {
                self.state = JobState::Starting;
                self.attempt = *attempt;
                self.worker = Some(*worker);
                self.leased = leased_at.map(|at| (at, *gpu));
                self.restarted = false;
            }
            JobEvent::PauseRequested { reason, .. } => self.pausing = Some(reason.clone()),
            JobEvent::Paused { .. } => {
                self.state = JobState::Paused;
                self.pausing = None;
            }
            JobEvent::Resumed { .. } => {
                self.pausing = None;
                if self.state == JobState::Paused {
                    self.state = JobState::Queued;
                }
            }
            JobEvent::Restarted { attempt, from } => self.restart(*attempt, *from),
            JobEvent::PriorityChanged { priority } => self.priority = *priority,
            JobEvent::Metered { milliseconds, .. } => {
                self.used = self.used.saturating_add(*milliseconds);
                self.leased = None;
            }
            JobEvent::Started { .. } => self.state = JobState::Running,
            JobEvent::CheckpointSaved { checkpoint, .. } => self.checkpoint = Some(checkpoint.clone()),
            JobEvent::CheckpointStored { checkpoint, .. } => self.stored.push(checkpoint.clone()),
            JobEvent::CheckpointsReleased { artifacts, .. } => {
                self.stored.retain(|stored| !artifacts.contains(&stored.artifact));
            }
            JobEvent::FilesStored { files, .. } => self.store(files),
            JobEvent::Interrupted { counts, .. } => {
                self.state = JobState::Queued;
                self.worker = None;
                self.pausing = None;
                self.losses += u32::from(*counts);
            }
            JobEvent::Completed { .. } => self.state = JobState::Completed,
            JobEvent::Failed { .. } => self.state = JobState::Failed,
            JobEvent::Cancelled { .. } => self.state = JobState::Cancelled,
        }
    }
}

impl Job {
    /// Its kind, as the permissions name it.
    pub const KIND: &'static str = "training";

    fn restart(&mut self, attempt: u32, from: RestartFrom) {
        self.state = JobState::Queued;
        self.worker = None;
        self.pausing = None;
        (self.losses, self.used, self.restarted) = (0, 0, true);
        let imports = self.order.as_ref().is_some_and(|order| order.import().is_some());
        if imports || from == RestartFrom::Scratch {
            (self.checkpoint, self.imported) = (None, Vec::new());
            self.floor = attempt;
        }
    }

    fn store(&mut self, files: &[ImportedFile]) {
        let again = |known: &ImportedFile| files.iter().any(|file| file.file.name == known.file.name);
        self.imported.retain(|known| !again(known));
        self.imported.extend_from_slice(files);
    }

    /// What the access decision needs to know of it.
    #[must_use]
    pub fn resource(&self, id: JobId) -> Resource {
        let worker = self.worker.filter(|_| self.state.is_leased());
        Resource::of(Self::KIND, id, self.order.as_ref().map(|order| order.owner)).leased_to(worker)
    }

    /// After `changes` releases these of its checkpoints in the object store; adds nothing when there are none.
    #[must_use]
    pub(super) fn releasing(
        &self,
        id: JobId,
        released: &[StoredCheckpoint],
        changes: NewEvents,
    ) -> NewEvents {
        if released.is_empty() {
            return changes;
        }
        let artifacts = released.iter().map(|stored| stored.artifact.clone()).collect();
        let released = JobEvent::CheckpointsReleased {
            attempt: self.attempt,
            artifacts,
        };
        changes.and::<Self>(id, &released)
    }

    /// What is recorded before the end of the attempt that is under way: how long it had its worker, and a GPU of it.
    /// Nothing when that is not known. Clocks that ran backwards count as no time.
    #[must_use]
    pub(super) fn closing(&self, id: JobId, now: OffsetDateTime) -> NewEvents {
        let leased = self.leased.filter(|_| self.state.is_leased());
        let (Some((at, gpu)), Some(worker), Some(order)) = (leased, self.worker, &self.order) else {
            return NewEvents::none();
        };
        let milliseconds = ledger::milliseconds(at, now);
        let metered = JobEvent::Metered {
            attempt: self.attempt,
            worker,
            owner: order.owner,
            project: order.training().map(|training| training.project),
            milliseconds,
            gpu,
        };
        let closing = NewEvents::record::<Self>(id, &metered);
        if !gpu {
            return closing;
        }
        let months = ledger::by_month(at, now).into_iter();
        months.fold(closing, |closing, (month, milliseconds)| {
            let item = gpu_item(id, self.attempt);
            let taken = LedgerEvent::GpuTimeTaken {
                month,
                milliseconds,
                item,
            };
            closing.and::<QuotaLedger>(order.owner, &taken)
        })
    }
}

/// What the ledger of GPU hours calls an attempt.
pub(super) fn gpu_item(id: JobId, attempt: u32) -> String {
    format!("{id}/{attempt}")
}
