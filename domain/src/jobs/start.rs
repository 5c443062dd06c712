//! What people do with jobs: start a training, and cancel a job of any kind.

use super::{
    control::for_priority,
    job::{BaseUse, DatasetUse, Job, JobEvent, JobKind, Order, Training},
    requirements::{self, JobRequirements},
    shape::Shape,
    spec::{Method, SpecProblems, TrainingSpec},
    training::for_base,
};
use crate::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{GpuHoursExceeded, Quota, QuotaExceeded, StorageExceeded},
    },
    authz::{Action, Needs, Requirement, Resource, Shared as _},
    datasets::dataset::Dataset,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId},
    models::model::{Model, ModelKind, ModelVersion, ModelVersionRef},
    projects::{experiment::Experiment, project::Project},
    rights, shared,
    text::{self, TextProblem},
};

/// Why a job is not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartJobRefusal {
    /// JB-1: everything that is wrong with the specification.
    #[error(transparent)]
    Spec(#[from] SpecProblems),
    /// The name does not fit.
    #[error(transparent)]
    Name(#[from] TextProblem),
    /// The dataset has no such version, or none at all.
    #[error("the dataset has no such version; upload one first")]
    NoDatasetVersion,
    /// `lora` needs a base.
    #[error("this method trains on top of a base model; name one")]
    BaseMissing,
    /// `scratch` takes none.
    #[error("training from scratch takes no base model")]
    BaseUnwanted,
    /// The base has no such version.
    #[error("the base model has no such version")]
    NoBaseVersion,
    /// The job to copy trains nothing.
    #[error("the job imports a model; import the folder again instead")]
    NoTraining,
    /// Adapters cannot be stacked.
    #[error("the base model is an adapter; name a model with full weights")]
    BaseIsAdapter,
    /// QU-1
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// QU-1: it demands a GPU, and the hours of the month are used up.
    #[error(transparent)]
    GpuHours(#[from] GpuHoursExceeded),
    /// DS-3: results have used the storage up, or a merged model would, which takes as much as its base at least.
    #[error(transparent)]
    Storage(#[from] StorageExceeded),
    /// The id belongs to another job.
    #[error("this id is already used")]
    IdTaken,
    /// JB-1: more than one of these.
    #[error("{}", several(.0))]
    Several(Vec<StartJobRefusal>),
}

fn several(all: &[StartJobRefusal]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl StartJobRefusal {
    /// Each thing that is wrong, by itself.
    #[must_use]
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::Several(all) => all,
            one => vec![one],
        }
    }

    fn of(mut found: Vec<Self>) -> Result<(), Self> {
        match (found.len(), found.pop()) {
            (_, None) => Ok(()),
            (1, Some(one)) => Err(one),
            (_, Some(last)) => {
                found.push(last);
                Err(Self::Several(found))
            }
        }
    }
}

/// Queues a training job (JB-1). Needs access to the experiment's project, the dataset and the base (AC-6).
#[derive(Clone, Debug)]
pub struct StartJob {
    /// Its id.
    pub job: JobId,
    /// Id of the model that will come of it.
    pub model: ModelId,
    /// The user who starts it.
    pub owner: UserId,
    /// Its name, which the model gets too; 1 to 100 characters.
    pub name: String,
    /// Where it belongs.
    pub experiment: ExperimentId,
    /// What it trains on: a dataset and a version of it, or its newest.
    pub dataset: (DatasetId, Option<u32>),
    /// What it starts from: a model and a version of it, or its newest.
    pub base: Option<(ModelId, Option<u32>)>,
    /// The shape of that version, where it is known; models do not change. With it, what does not fit is found
    /// before the job is queued.
    pub base_shape: Option<Shape>,
    /// What it does.
    pub spec: TrainingSpec,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
    /// When and where it may run. The engine that it needs is found from its specification.
    pub requirements: JobRequirements,
    /// The most seconds that any job may run, and what this one may when its requirements do not say; `None`: no
    /// limit.
    pub longest_run_seconds: Option<u32>,
    /// The job that it is made after.
    pub cloned_from: Option<JobId>,
}

impl StartJob {
    /// The order, if all of it is right.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the fields.
    fn order(&self, loaded: &LoadedState, project: ProjectId) -> Result<Order, StartJobRefusal> {
        let mut found = Vec::new();
        let name = text::name(&self.name).map_err(|problem| found.push(StartJobRefusal::Name(problem)));
        let dataset = self.dataset(loaded).map_err(|problem| found.push(problem));
        let base = self.base(loaded).map_err(|problem| found.push(problem));
        let mut problems = self
            .spec
            .validate()
            .err()
            .map_or(Vec::new(), |problems| problems.0);
        problems.extend(self.base_shape.iter().flat_map(|shape| shape.misfits(&self.spec)));
        problems.extend(self.requirements.problems(self.longest_run_seconds));
        if !problems.is_empty() {
            found.push(SpecProblems(problems).into());
        }
        StartJobRefusal::of(found)?;
        let (Ok(name), Ok(dataset), Ok(base)) = (name, dataset, base) else {
            return Err(StartJobRefusal::Several(Vec::new()));
        };
        Ok(Order {
            job: self.job,
            name,
            owner: self.owner,
            model: self.model,
            kind: JobKind::Training(Training {
                experiment: self.experiment,
                project,
                dataset,
                base,
                spec: self.spec.clone(),
            }),
            max_attempts: self.max_attempts,
            requirements: self.requirements(),
            cloned_from: self.cloned_from,
        })
    }

    /// What it takes to start it: the right to train, and a part in everything that it uses (AC-6).
    pub(super) fn needs(&self, loaded: &LoadedState) -> Needs {
        let project = match loaded.get::<Experiment>(self.experiment).project {
            // Of others, it is refused as one that is not there.
            Some(project) => shared::resource::<Project>(project, loaded).called(self.experiment),
            None => Resource::of(Project::KIND, self.experiment, None),
        };
        let dataset = shared::resource::<Dataset>(self.dataset.0, loaded);
        let mut needs = Needs::one(Action::TrainingCreate, Resource::kind(Job::KIND))
            .and(Action::ProjectsRead, project)
            .and(Action::DatasetsRead, dataset);
        if let Some((model, _)) = self.base {
            needs = for_base(
                needs,
                shared::resource::<Model>(model, loaded),
                &self.spec,
                self.owner,
            );
        }
        for_priority(needs, self.requirements.priority, 0)
    }

    /// The requirements it runs under: those that were asked for, and what follows from the training itself.
    fn requirements(&self) -> JobRequirements {
        let mut labels = self.requirements.labels.clone();
        labels.extend(requirements::label_needed(&self.spec).map(str::to_owned));
        JobRequirements {
            labels,
            max_run_seconds: self.requirements.max_run_seconds.or(self.longest_run_seconds),
            engine: requirements::engine_needed(&self.spec),
            ..self.requirements.clone()
        }
    }

    fn base(&self, loaded: &LoadedState) -> Result<Option<BaseUse>, StartJobRefusal> {
        match (&self.spec.method, self.base) {
            (Method::Scratch(_), None) => Ok(None),
            (Method::Scratch(_), Some(_)) => Err(StartJobRefusal::BaseUnwanted),
            (Method::Lora(_) | Method::Full, None) => Err(StartJobRefusal::BaseMissing),
            (Method::Lora(_) | Method::Full, Some((model, number))) => {
                let base: Model = loaded.get(model);
                if base.kind == Some(ModelKind::Adapter) {
                    return Err(StartJobRefusal::BaseIsAdapter);
                }
                let version = base.version(number).ok_or(StartJobRefusal::NoBaseVersion)?;
                Ok(Some(BaseUse {
                    version: ModelVersionRef {
                        model,
                        version: version.version,
                    },
                    sha256: version.sha256.clone(),
                    artifact: version.artifact.clone(),
                }))
            }
        }
    }

    /// Whether what is known to be stored at the end still fits. How large an adapter gets shows then only; a
    /// result is never thrown away for its size.
    fn storage(&self, loaded: &LoadedState, now: time::OffsetDateTime) -> Result<(), StartJobRefusal> {
        let quotas = rights::quotas(self.owner, loaded);
        let merged = self.base.filter(|_| self.spec.outputs.merged);
        let wanted = merged.map_or(0, |(base, number)| {
            let base: Model = loaded.get(base);
            base.version(number).map_or(0, ModelVersion::bytes)
        });
        let ledger: QuotaLedger = loaded.get(self.owner);
        Ok(ledger.storage_left(&quotas, wanted, now, None)?)
    }

    fn dataset(&self, loaded: &LoadedState) -> Result<DatasetUse, StartJobRefusal> {
        let (dataset, number) = self.dataset;
        let recorded: Dataset = loaded.get(dataset);
        let version = recorded
            .version(number)
            .ok_or(StartJobRefusal::NoDatasetVersion)?;
        Ok(DatasetUse {
            dataset,
            version: version.version,
            sha256: version.sha256.clone(),
            format: version.format,
        })
    }
}

impl Command for StartJob {
    type Refusal = StartJobRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads
            .make::<Job>(self.job)
            .make::<Model>(self.model)
            .read::<Experiment>(self.experiment);
        shared::read::<Dataset>(self.dataset.0, loaded, reads);
        rights::read_quotas(self.owner, loaded, reads);
        if let Some((model, _)) = self.base {
            shared::read::<Model>(model, loaded, reads);
        }
        if let Some(project) = loaded.get::<Experiment>(self.experiment).project {
            shared::read::<Project>(project, loaded, reads);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        self.needs(loaded).into()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<StartJobRefusal> {
        let model_taken = loaded.get::<Model>(self.model).owner.is_some();
        if model_taken || loaded.get::<Job>(self.job).order.is_some() {
            return Err(StartJobRefusal::IdTaken.into());
        }
        let experiment: Experiment = loaded.get(self.experiment);
        let Some(project) = experiment.project else {
            return Ok(NewEvents::none());
        };
        let order = self.order(loaded, project)?;
        let quotas = rights::quotas(self.owner, loaded);
        self.storage(loaded, context.now)?;
        let ledger: QuotaLedger = loaded.get(self.owner);
        if self.requirements().demands_gpu() {
            ledger
                .gpu_hours_left(&quotas, context.now)
                .map_err(StartJobRefusal::GpuHours)?;
        }
        let taken = ledger
            .take(&quotas, Quota::ConcurrentJobs, self.job.to_string())
            .map_err(StartJobRefusal::Quota)?;
        Ok(
            NewEvents::record::<Job>(self.job, &JobEvent::Queued(Box::new(order)))
                .and::<QuotaLedger>(self.owner, &taken),
        )
    }
}

/// Checks an order as [`StartJob`] would, and records nothing.
#[derive(Clone, Debug)]
pub struct ValidateJob(pub StartJob);

impl Command for ValidateJob {
    type Refusal = StartJobRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        self.0.reads(loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        self.0.requires(loaded)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<StartJobRefusal> {
        self.0.decide(loaded, context).map(|_| NewEvents::none())
    }
}

/// Gives the owner's place among the concurrent jobs back, and the room that is reserved for the job.
pub(super) fn release(changes: NewEvents, order: &Order, loaded: &LoadedState) -> NewEvents {
    let item = order.job.to_string();
    let room = loaded.get::<QuotaLedger>(order.owner).release(&item);
    let changes = changes.and::<QuotaLedger>(
        order.owner,
        &LedgerEvent::Released {
            quota: Quota::ConcurrentJobs,
            item,
        },
    );
    room.iter().fold(changes, |changes, room| {
        changes.and::<QuotaLedger>(order.owner, room)
    })
}

/// Why a job cannot be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelRefusal {
    /// It is over.
    #[error("the job has already ended")]
    AlreadyEnded,
    /// The reason is too long, or would steer a terminal.
    #[error(transparent)]
    Reason(#[from] TextProblem),
}

/// Ends a job; its last checkpoint stays usable (JB-3). Cancelling twice is one cancellation.
#[derive(Clone, Debug)]
pub struct CancelJob {
    /// The job.
    pub job: JobId,
    /// Why; may be empty.
    pub reason: String,
}

impl Command for CancelJob {
    type Refusal = CancelRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
        if let Some(order) = loaded.get::<Job>(self.job).order {
            reads.read::<QuotaLedger>(order.owner);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::one(
            Action::TrainingUpdate,
            loaded.get::<Job>(self.job).resource(self.job),
        )
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<CancelRefusal> {
        let job: Job = loaded.get(self.job);
        match (job.state, &job.order) {
            (super::job::JobState::Cancelled, _) | (_, None) => Ok(NewEvents::none()),
            (state, _) if state.is_final() => Err(CancelRefusal::AlreadyEnded.into()),
            (_, Some(order)) => {
                let reason = text::reason(&self.reason).map_err(CancelRefusal::Reason)?;
                let closing = job.closing(self.job, context.now);
                let event = JobEvent::Cancelled {
                    attempt: job.attempt,
                    reason,
                };
                Ok(release(closing.and::<Job>(self.job, &event), order, loaded))
            }
        }
    }
}
