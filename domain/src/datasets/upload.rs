//! Room for the bytes of an upload, before they come (DS-3).
//!
//! One rule: what is on its way counts as stored, for whoever else wants room of the same owner.

use time::OffsetDateTime;

use super::dataset::{Dataset, DatasetRefusal};
use crate::{
    access::ledger::QuotaLedger,
    authz::{Action, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{DatasetId, UploadId, UserId},
    rights, shared,
};

/// Reserves room for the bytes of an upload in the quota of the dataset's owner, in place of what the same upload had
/// reserved before. Decides anew whether the caller may upload. A reservation that nobody extends ends by itself.
/// Bytes that are a version of the dataset already need none: an upload whose answer was lost can be repeated.
#[derive(Clone, Debug)]
pub struct ReserveUpload {
    /// The dataset that they are for.
    pub dataset: DatasetId,
    /// The upload.
    pub upload: UploadId,
    /// Bytes in all.
    pub bytes: u64,
    /// SHA-256 that they have, or must have, in lower-case hexadecimal; where it is known.
    pub sha256: Option<String>,
    /// When the reservation ends by itself.
    pub until: OffsetDateTime,
}

impl Command for ReserveUpload {
    type Refusal = DatasetRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<Dataset>(self.dataset, loaded, reads);
        if let Some(owner) = loaded.get::<Dataset>(self.dataset).owner {
            rights::read_quotas(owner, loaded, reads);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let dataset = shared::resource::<Dataset>(self.dataset, loaded);
        Requirement::one(Action::DatasetsUpdate, dataset)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<DatasetRefusal> {
        let dataset: Dataset = loaded.get(self.dataset);
        let Some(owner) = dataset.owner.filter(|_| !self.is_stored(&dataset)) else {
            return Ok(NewEvents::none());
        };
        let ledger: QuotaLedger = loaded.get(owner);
        let item = self.upload.to_string();
        let events = ledger
            .reserve(
                &rights::quotas(owner, loaded),
                (&item, self.bytes),
                (context.now, self.until),
            )
            .map_err(DatasetRefusal::Storage)?;
        let events = events.iter();
        Ok(events.fold(NewEvents::none(), |all, event| {
            all.and::<QuotaLedger>(owner, event)
        }))
    }
}

impl ReserveUpload {
    fn is_stored(&self, dataset: &Dataset) -> bool {
        let mut versions = dataset.versions.iter();
        self.sha256.as_ref().is_some_and(|sha256| {
            versions.any(|version| version.sha256 == *sha256 && version.bytes >= self.bytes)
        })
    }
}

/// Gives back what an upload has reserved and does not need. Nothing is recorded where it has nothing.
#[derive(Clone, Debug)]
pub struct ReleaseUpload {
    /// The owner of its dataset.
    pub owner: UserId,
    /// The upload.
    pub upload: UploadId,
    /// Only if its reservation ended by itself at this time, and was not extended.
    pub lapsed: Option<OffsetDateTime>,
}

impl Command for ReleaseUpload {
    type Refusal = std::convert::Infallible;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<QuotaLedger>(self.owner);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        // Whoever uploaded may have lost the right to it meanwhile.
        Requirement::System
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<Self::Refusal> {
        let ledger: QuotaLedger = loaded.get(self.owner);
        let item = self.upload.to_string();
        let still = ledger.reserved_until(&item);
        let wanted = self
            .lapsed
            .is_none_or(|lapsed| still == Some(lapsed) && lapsed <= context.now);
        Ok(match ledger.release(&item).filter(|_| wanted) {
            Some(released) => NewEvents::record::<QuotaLedger>(self.owner, &released),
            None => NewEvents::none(),
        })
    }
}
