//! Datasets: a name, an owner, and versions that never change (DS-2).

use serde::{Deserialize, Serialize};

use super::format::{Format, Summary};
use crate::{
    access::{
        ledger::QuotaLedger,
        quota::{Quota, QuotaExceeded, StorageExceeded},
    },
    aggregate::{Aggregate, event},
    authz::{Action, Needs, PartyRole, Requirement, Shared, Visibility},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{DatasetId, UploadId, UserId},
    payload::Leaves,
    rights, shared,
    text::{Label, TextProblems},
};

/// A dataset.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The owner, once created.
    pub owner: Option<UserId>,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
    /// Its versions; version 1 is the first.
    pub versions: Vec<Version>,
}

/// One immutable version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Version {
    /// Its number, from 1.
    pub version: u32,
    /// SHA-256 of its bytes, in lower-case hexadecimal: its address in the object store.
    #[plain]
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// What its bytes are.
    pub format: Format,
    /// Counts of the validation.
    #[leaves(last)]
    pub summary: Summary,
    /// The file's name as uploaded.
    #[plain]
    pub file_name: String,
}

/// Facts about a dataset.
#[event(context = "datasets", subject = owner)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatasetEvent {
    /// It came to be, still empty.
    #[event(name = "DatasetCreated")]
    Created {
        /// The dataset.
        dataset: DatasetId,
        /// The owner.
        owner: UserId,
        /// Its name.
        #[plain]
        name: String,
        /// Its content.
        #[plain]
        description: String,
        /// Who can read it besides its owner.
        visibility: Visibility,
    },
    /// A version was uploaded and validated.
    #[event(subject = actor)]
    VersionAdded(Version),
}

impl Aggregate for Dataset {
    const CATEGORY: &'static str = "datasets.dataset";
    type Event = DatasetEvent;
    fn evolve(&mut self, event: &DatasetEvent) {
        match event {
            DatasetEvent::Created {
                owner, visibility, ..
            } => {
                self.owner = Some(*owner);
                self.visibility = *visibility;
            }
            DatasetEvent::VersionAdded(version) => self.versions.push(version.clone()),
        }
    }
}

impl Shared for Dataset {
    type Id = DatasetId;
    const KIND: &'static str = "datasets";
    const READ: Action = Action::DatasetsRead;
    const SHARE: Action = Action::DatasetsShare;
    const ROLES: &'static [PartyRole] = &[PartyRole::Member, PartyRole::Owner];
    const GROUPS: bool = false;

    fn founder(&self) -> Option<UserId> {
        self.owner
    }

    fn visibility(&self) -> Visibility {
        self.visibility
    }
}

impl Dataset {
    /// A version by number, or the newest.
    #[must_use]
    pub fn version(&self, number: Option<u32>) -> Option<&Version> {
        match number {
            Some(number) => self.versions.iter().find(|version| version.version == number),
            None => self.versions.last(),
        }
    }
}

/// Why there is no new dataset or version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatasetRefusal {
    /// Texts are too long or empty.
    #[error(transparent)]
    Text(#[from] TextProblems),
    /// QU-1
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// DS-3: the bytes do not fit the owner's storage quota.
    #[error(transparent)]
    Storage(#[from] StorageExceeded),
    /// The id belongs to another dataset.
    #[error("this id is already used")]
    IdTaken,
}

/// Creates an empty dataset.
#[derive(Clone, Debug)]
pub struct CreateDataset {
    /// Its id.
    pub dataset: DatasetId,
    /// The owner.
    pub owner: UserId,
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// What is in it, at most 2,000 characters.
    pub description: String,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
}

impl Command for CreateDataset {
    type Refusal = DatasetRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.make::<Dataset>(self.dataset);
        rights::read_quotas(self.owner, loaded, reads);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Needs::to_create(
            Dataset::KIND,
            self.visibility,
            Action::DatasetsCreate,
            Dataset::SHARE,
        )
        .into()
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<DatasetRefusal> {
        if loaded.get::<Dataset>(self.dataset).owner.is_some() {
            return Err(DatasetRefusal::IdTaken.into());
        }
        let Label { name, description } =
            Label::try_new(&self.name, &self.description).map_err(DatasetRefusal::Text)?;
        let ledger: QuotaLedger = loaded.get(self.owner);
        let taken = ledger
            .take(
                &rights::quotas(self.owner, loaded),
                Quota::Datasets,
                self.dataset.to_string(),
            )
            .map_err(DatasetRefusal::Quota)?;
        let created = DatasetEvent::Created {
            dataset: self.dataset,
            owner: self.owner,
            name,
            description,
            visibility: self.visibility,
        };
        Ok(NewEvents::record::<Dataset>(self.dataset, &created).and::<QuotaLedger>(self.owner, &taken))
    }
}

/// Adds a version whose bytes are validated and stored. The same bytes again are the version they
/// already are: nothing is recorded.
#[derive(Clone, Debug)]
pub struct AddDatasetVersion {
    /// The dataset.
    pub dataset: DatasetId,
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// Their number.
    pub bytes: u64,
    /// What they are.
    pub format: Format,
    /// Counts of the validation.
    pub summary: Summary,
    /// The file's name as uploaded.
    pub file_name: String,
    /// The upload that reserved room for them; its reservation ends.
    pub upload: Option<UploadId>,
}

impl Command for AddDatasetVersion {
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
        let Some(owner) = dataset.owner else {
            return Ok(NewEvents::none());
        };
        let upload = self.upload.map(|upload| upload.to_string());
        if dataset
            .versions
            .iter()
            .any(|one| one.sha256 == self.sha256 && one.format == self.format)
        {
            return Ok(NewEvents::none());
        }
        let ledger: QuotaLedger = loaded.get(owner);
        let number = u32::try_from(dataset.versions.len() + 1).unwrap_or(u32::MAX);
        let item = format!("{}/{number}", self.dataset);
        let (more, taken) = ledger.take_object(&self.sha256, self.bytes, item);
        ledger
            .storage_left(
                &rights::quotas(owner, loaded),
                more,
                context.now,
                upload.as_deref(),
            )
            .map_err(DatasetRefusal::Storage)?;
        let added = DatasetEvent::VersionAdded(Version {
            version: number,
            sha256: self.sha256.clone(),
            bytes: self.bytes,
            format: self.format,
            summary: self.summary.clone(),
            file_name: self.file_name.clone(),
        });
        let added = NewEvents::record::<Dataset>(self.dataset, &added).and::<QuotaLedger>(owner, &taken);
        Ok(match upload.and_then(|upload| ledger.release(&upload)) {
            Some(released) => added.and::<QuotaLedger>(owner, &released),
            None => added,
        })
    }
}
