//! What a worker reports of the job it leases. Every report names its attempt; a stale one is refused.

use std::collections::BTreeMap;

use super::{
    checkpoint::{StoredCheckpoint, place, superseded},
    import::ImportedFile,
    job::{Checkpoint, Job, JobEvent, JobKind, Order},
    start::release,
};
use crate::{
    access::ledger::{LedgerEvent, QuotaLedger},
    authz::{Requirement, Visibility},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision, Refused},
    id::JobId,
    models::model::{
        Lineage, MergedModel, Model, ModelEvent, ModelFile, ModelKind, ModelVersion, ModelVersionRef,
    },
};

/// Why a report is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefusal {
    /// The job was cancelled, ended, or leased again: this worker must stop.
    #[error("this attempt is no longer under way; stop working on the job")]
    StaleAttempt,
    /// Another job has written the model; this one has been failed.
    #[error("the model of the job is another job's result; the job has been failed")]
    ModelTaken,
}

/// The order of a job whose `attempt` is under way.
pub(super) fn under_way(job: &Job, attempt: u32) -> Result<&Order, ReportRefusal> {
    match &job.order {
        Some(order) if job.state.is_leased() && job.attempt == attempt => Ok(order),
        _ => Err(ReportRefusal::StaleAttempt),
    }
}

/// One report on an attempt.
#[derive(Clone, Debug)]
pub struct Report {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// What is reported.
    pub report: AttemptReport,
}

/// What can be reported.
#[derive(Clone, Debug)]
pub enum AttemptReport {
    /// The work begins. Steps of an import are its files.
    Started {
        /// Steps already done in earlier attempts.
        from_step: u32,
        /// Steps in all.
        total_steps: u32,
        /// Trained parameters; 0 of an import.
        trained_parameters: u64,
    },
    /// State is saved.
    Checkpoint(Checkpoint),
    /// A saved state is in the object store, at its [`place`]. Once more is no second time.
    Stored {
        /// Which. Where it lies follows from job, attempt and hash.
        checkpoint: StoredCheckpoint,
        /// How many of the job stay there; those before are released.
        keep: u32,
    },
    /// Files of an import are stored.
    FilesStored(Vec<ImportedFile>),
    /// It ended with these files, which are stored.
    Completed {
        /// Their place in the object store.
        artifact: String,
        /// Hash over their names and hashes.
        sha256: String,
        /// The files.
        files: Vec<ModelFile>,
        /// The base with the adapter merged into it, where the order asks for it.
        merged: Option<MergedModel>,
        /// Metrics, as decimal text.
        metrics: BTreeMap<String, String>,
        /// The version of Anneal.
        code_version: String,
        /// The worker's name.
        worker: String,
    },
    /// It ended with an error that another attempt would meet again.
    Failed {
        /// A stable code.
        code: String,
        /// The error, with its remedy.
        message: String,
    },
}

impl Command for Report {
    type Refusal = ReportRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.job);
        if let Some(order) = loaded.get::<Job>(self.job).order {
            reads.read::<QuotaLedger>(order.owner).read::<Model>(order.model);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::LeaseOf(loaded.get::<Job>(self.job).resource(self.job))
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<ReportRefusal> {
        let job: Job = loaded.get(self.job);
        let order = under_way(&job, self.attempt)?;
        let closing = || job.closing(self.job, context.now);
        match &self.report {
            AttemptReport::Started {
                from_step,
                total_steps,
                trained_parameters,
            } => Ok(self.started(*from_step, *total_steps, *trained_parameters)),
            AttemptReport::Checkpoint(checkpoint) => Ok(self.saved(checkpoint)),
            AttemptReport::Stored { checkpoint, keep } => Ok(self.stored(&job, checkpoint, *keep)),
            AttemptReport::FilesStored(files) => Ok(self.files_stored(files)),
            AttemptReport::Failed { code, message } => {
                let ended = self.failed(closing(), code, message);
                Ok(release(ended, order, loaded))
            }
            // A model is written by one job: its id is fresh with each order. Should two orders name the same
            // all the same, the second finds it written.
            AttemptReport::Completed { .. } if loaded.get::<Model>(order.model).owner.is_some() => {
                let message = format!("the model {} is another job's result; clone the job", order.model);
                Err(Refused {
                    reason: ReportRefusal::ModelTaken,
                    record: release(self.failed(closing(), "MODEL_TAKEN", &message), order, loaded),
                })
            }
            AttemptReport::Completed {
                artifact,
                sha256,
                files,
                merged,
                metrics,
                code_version,
                worker,
            } => {
                let version = ModelVersion {
                    version: 1,
                    sha256: sha256.clone(),
                    artifact: artifact.clone(),
                    files: files.clone(),
                    lineage: lineage(order, metrics, code_version, worker),
                    merged: merged.clone(),
                };
                // Nobody goes on from a checkpoint of a job that has its result.
                let closing = job.releasing(self.job, &job.stored, closing());
                let completed = self.completed(closing, order, version, metrics);
                Ok(release(completed, order, loaded))
            }
        }
    }
}

impl Report {
    fn started(&self, from_step: u32, total_steps: u32, trained_parameters: u64) -> NewEvents {
        let event = JobEvent::Started {
            attempt: self.attempt,
            from_step,
            total_steps,
            trained_parameters,
        };
        NewEvents::record::<Job>(self.job, &event)
    }

    fn saved(&self, checkpoint: &Checkpoint) -> NewEvents {
        let event = JobEvent::CheckpointSaved {
            attempt: self.attempt,
            checkpoint: checkpoint.clone(),
        };
        NewEvents::record::<Job>(self.job, &event)
    }

    fn stored(&self, job: &Job, checkpoint: &StoredCheckpoint, keep: u32) -> NewEvents {
        let checkpoint = StoredCheckpoint {
            artifact: place(self.job, self.attempt, &checkpoint.sha256),
            ..checkpoint.clone()
        };
        if job
            .stored
            .iter()
            .any(|stored| stored.artifact == checkpoint.artifact)
        {
            return NewEvents::none();
        }
        let event = JobEvent::CheckpointStored {
            attempt: self.attempt,
            checkpoint: checkpoint.clone(),
        };
        let mut after = job.stored.clone();
        after.push(checkpoint);
        let changes = NewEvents::record::<Job>(self.job, &event);
        job.releasing(self.job, superseded(&after, keep), changes)
    }

    fn files_stored(&self, files: &[ImportedFile]) -> NewEvents {
        let event = JobEvent::FilesStored {
            attempt: self.attempt,
            files: files.to_vec(),
        };
        NewEvents::record::<Job>(self.job, &event)
    }

    /// The end with an error, after what `closing` the attempt records.
    fn failed(&self, closing: NewEvents, code: &str, message: &str) -> NewEvents {
        let event = JobEvent::Failed {
            attempt: self.attempt,
            code: code.to_owned(),
            message: message.to_owned(),
        };
        closing.and::<Job>(self.job, &event)
    }

    /// The end with a result: the job, its model and what that takes of the owner's storage, at once.
    fn completed(
        &self,
        closing: NewEvents,
        order: &Order,
        version: ModelVersion,
        metrics: &BTreeMap<String, String>,
    ) -> NewEvents {
        let stored = stored(order, &version);
        let completed = JobEvent::Completed {
            attempt: self.attempt,
            model: ModelVersionRef {
                model: order.model,
                version: version.version,
            },
            metrics: metrics.clone(),
        };
        closing
            .and::<Job>(self.job, &completed)
            .and::<Model>(order.model, &registered(order))
            .and::<Model>(order.model, &ModelEvent::VersionAdded(version))
            .and::<QuotaLedger>(order.owner, &stored)
    }
}

/// What the result takes of the owner's storage, its merged model included (DS-3).
fn stored(order: &Order, version: &ModelVersion) -> LedgerEvent {
    let merged = version.merged.as_ref().map_or(0, MergedModel::bytes);
    LedgerEvent::StorageTaken {
        bytes: version.bytes().saturating_add(merged),
        item: format!("{}/{}", order.model, version.version),
        object: None,
    }
}

fn registered(order: &Order) -> ModelEvent {
    let (description, content, visibility) = match &order.kind {
        JobKind::Training(training) => (String::new(), training.content(), Visibility::Private),
        JobKind::Import(import) => (import.description.clone(), ModelKind::Full, import.visibility),
    };
    ModelEvent::Registered {
        model: order.model,
        owner: order.owner,
        name: order.name.clone(),
        description,
        content,
        visibility,
    }
}

fn lineage(order: &Order, metrics: &BTreeMap<String, String>, code_version: &str, worker: &str) -> Lineage {
    match &order.kind {
        JobKind::Training(training) => training.lineage(order, metrics, code_version, worker),
        JobKind::Import(import) => import.lineage(),
    }
}
