//! Jobs that import a model: how they are ordered, what they take, and what is recorded on their way (MO-1).
//!
//! One rule: room for all bytes is reserved with the order, and kept until the job ends: by a model, which takes it, or
//! without one, which gives it back.

use time::{Duration, OffsetDateTime};

pub use super::kind::ImportedFile;
use super::{
    job::{Job, JobEvent, Order},
    kind::{Import, JobKind},
    requirements::{self, JobRequirements},
};
use crate::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::{Quota, QuotaExceeded, Quotas, StorageExceeded},
    },
    authz::{Action, Needs, Requirement, Shared as _, Visibility},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{JobId, ModelId, UserId},
    models::model::{Lineage, Model},
    problems::Problems,
    rights,
    text::{Label, TextProblem},
};

/// How long room is reserved for an import: longer than any waits. Its end gives it back before.
const RESERVED: Duration = Duration::days(36_500);

impl Import {
    /// What its owner must be allowed to: to register a model, and to show one to everybody.
    pub(super) fn needs(&self) -> Needs {
        needs(self.visibility)
    }

    /// The lineage of the model that comes of it.
    pub(super) fn lineage(&self) -> Lineage {
        Lineage::Imported {
            origin: self.folder.clone(),
        }
    }

    /// Room for its bytes, in the name of `job`.
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn reserved(
        &self,
        job: JobId,
        ledger: &QuotaLedger,
        quotas: &Quotas,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEvent>, StorageExceeded> {
        let until = now.checked_add(RESERVED).unwrap_or(now);
        ledger.reserve(quotas, (&job.to_string(), self.bytes), (now, until))
    }
}

fn needs(visibility: Visibility) -> Needs {
    Needs::to_create(Model::KIND, visibility, Action::ModelsCreate, Model::SHARE)
}

/// Why an import is not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportProblem {
    /// A text is too long, or empty.
    #[error(transparent)]
    Text(#[from] TextProblem),
    /// DS-3: the files do not fit the owner's storage quota.
    #[error(transparent)]
    Storage(#[from] StorageExceeded),
    /// QU-1: the owner has as many jobs as may be.
    #[error(transparent)]
    Jobs(#[from] QuotaExceeded),
    /// The id belongs to another job or model.
    #[error("this id is already used")]
    IdTaken,
}

/// Queues the import of a model from a folder of the server, which the worker checks, hashes and stores (MO-1).
#[derive(Clone, Debug)]
pub struct ImportModel {
    /// Its id.
    pub job: JobId,
    /// Id of the model that will come of it.
    pub model: ModelId,
    /// The user who imports it.
    pub owner: UserId,
    /// Name of the job and of the model, 1 to 100 characters.
    pub name: String,
    /// Folder, description, visibility and size.
    pub import: Import,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
    /// The most seconds that it may run; `None`: no limit.
    pub longest_run_seconds: Option<u32>,
}

impl ImportModel {
    fn order(&self, Label { name, description }: Label) -> Order {
        Order {
            job: self.job,
            name,
            owner: self.owner,
            model: self.model,
            kind: JobKind::Import(Import {
                description,
                ..self.import.clone()
            }),
            max_attempts: self.max_attempts,
            requirements: JobRequirements {
                max_run_seconds: self.longest_run_seconds,
                engine: requirements::IMPORTS,
                ..JobRequirements::default()
            },
            cloned_from: None,
        }
    }
}

impl Command for ImportModel {
    type Refusal = Problems<ImportProblem>;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.make::<Job>(self.job).make::<Model>(self.model);
        rights::read_quotas(self.owner, loaded, reads);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        needs(self.import.visibility).into()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<Self::Refusal> {
        if loaded.get::<Model>(self.model).owner.is_some() || loaded.get::<Job>(self.job).order.is_some() {
            return Err(Problems(vec![ImportProblem::IdTaken]).into());
        }
        let (quotas, ledger): (_, QuotaLedger) = (rights::quotas(self.owner, loaded), loaded.get(self.owner));
        let label = Label::try_new(&self.name, &self.import.description);
        let room = self.import.reserved(self.job, &ledger, &quotas, context.now);
        let place = ledger.take(&quotas, Quota::ConcurrentJobs, self.job.to_string());
        match (label, room, place) {
            (Ok(label), Ok(room), Ok(place)) => {
                let queued = JobEvent::Queued(Box::new(self.order(label)));
                let events = NewEvents::record::<Job>(self.job, &queued);
                let ledger = room.iter().chain([&place]);
                Ok(ledger.fold(events, |all, event| all.and::<QuotaLedger>(self.owner, event)))
            }
            (label, room, place) => {
                let mut found: Vec<ImportProblem> = Vec::new();
                found.extend(label.err().into_iter().flat_map(|texts| texts.0).map(Into::into));
                found.extend(room.err().map(Into::into));
                found.extend(place.err().map(Into::into));
                Err(Problems(found).into())
            }
        }
    }
}
