//! What the log says about a job, a model or what somebody has used, now.
//!
//! One rule: decisions about a job are made from here, never from a read model, which may be behind.

use domain::{
    access::quota::QuotaLedger,
    aggregate::{Aggregate, DecodeError, decode},
    event_store::{EventStore, Position, StoreError},
    id::{JobId, ModelId, UserId},
    jobs::job::{Job, JobEvent},
    models::model::{Model, ModelEvent},
};

/// Why the log could not be consulted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// It does not answer, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds what this build cannot read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl HistoryError {
    /// Whether trying again may help.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_)))
    }
}

/// A job as recorded.
#[derive(Debug, Default)]
pub(crate) struct RecordedJob {
    /// Its state.
    pub(crate) job: Job,
    /// The position of its last event.
    pub(crate) position: Position,
}

/// Reads a job; one that was never queued is empty.
pub(crate) async fn job(store: &dyn EventStore, id: JobId) -> Result<RecordedJob, HistoryError> {
    let mut recorded = RecordedJob::default();
    for event in store.load(&Job::stream(id), 0).await? {
        recorded.job.evolve(&decode::<JobEvent>(&event)?);
        recorded.position = event.position;
    }
    Ok(recorded)
}

/// Reads a model and its name.
pub(crate) async fn model(store: &dyn EventStore, id: ModelId) -> Result<(Model, String), HistoryError> {
    let (mut model, mut named) = (Model::default(), String::new());
    for event in store.load(&Model::stream(id), 0).await? {
        let event = decode::<ModelEvent>(&event)?;
        if let ModelEvent::Registered { name, .. } = &event {
            named.clone_from(name);
        }
        model.evolve(&event);
    }
    Ok((model, named))
}

/// Reads what a user has taken of the quotas.
pub(crate) async fn ledger(store: &dyn EventStore, user: UserId) -> Result<QuotaLedger, HistoryError> {
    let mut ledger = QuotaLedger::default();
    for event in store.load(&QuotaLedger::stream(user), 0).await? {
        ledger.evolve(&decode(&event)?);
    }
    Ok(ledger)
}
