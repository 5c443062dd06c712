//! Sensitive reads are facts too (AU-1): taking a dataset or a model out of the house, and an administrator's look at
//! what belongs to others (AC-4).
//!
//! One rule: a read is on record before it is answered, or it is not answered. One event per actor, thing and hour
//! stands for all ([`crate::bounded`]): a download in ranges, a HEAD before it, a page that is opened again.

use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, Needs, Requirement},
    bounded::Count,
    datasets::dataset::Dataset,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{DatasetId, ModelId},
    models::model::Model,
    shared,
};

/// The sensitive reads of one actor. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct SensitiveReads;

/// Facts about sensitive reads.
#[event(context = "audit", subject = actor)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadEvent {
    /// A dataset version was downloaded.
    DatasetDownloaded {
        /// The dataset.
        dataset: DatasetId,
        /// Its version.
        version: u32,
    },
    /// A file of a model version was downloaded.
    ModelDownloaded {
        /// The model.
        model: ModelId,
        /// Its version.
        version: u32,
        /// The file's name.
        #[plain]
        file: String,
        /// Whether it is one of the merged model.
        #[serde(default, skip_serializing_if = "is_false")]
        merged: bool,
    },
    /// An administrator looked at a thing that belongs to others.
    OthersThingRead {
        /// Its id.
        #[plain]
        thing: String,
    },
    /// A list was read in which everybody's things, or people, are.
    OthersThingsListed {
        /// What they are, by the name of the list: `jobs`, `users`.
        #[plain]
        things: String,
    },
    /// Further reads of what the actor had read within the hour were only counted.
    #[event(name = "ReadsLeftOut", subject = nobody)]
    LeftOut(Count),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Aggregate for SensitiveReads {
    const CATEGORY: &'static str = "audit.reads";
    type Event = ReadEvent;
    fn evolve(&mut self, _: &ReadEvent) {}
}

/// Nothing but the missing permission or the missing thing speaks against a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such version or file")]
pub struct NoSuchContent;

/// Permits and records a download of a dataset version.
#[derive(Clone, Debug)]
pub struct DownloadDataset {
    /// The dataset.
    pub dataset: DatasetId,
    /// Its version.
    pub version: u32,
}

impl Command for DownloadDataset {
    type Refusal = NoSuchContent;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<Dataset>(self.dataset, loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let dataset = shared::resource::<Dataset>(self.dataset, loaded);
        Requirement::one(Action::DatasetsRead, dataset)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<NoSuchContent> {
        let dataset: Dataset = loaded.get(self.dataset);
        if dataset.version(Some(self.version)).is_none() {
            return Err(NoSuchContent.into());
        }
        let event = ReadEvent::DatasetDownloaded {
            dataset: self.dataset,
            version: self.version,
        };
        Ok(NewEvents::record::<SensitiveReads>(
            context.principal.actor(),
            &event,
        ))
    }
}

/// Permits and records a download of one file of a model version. Needs `models.export` besides access.
#[derive(Clone, Debug)]
pub struct DownloadModelFile {
    /// The model.
    pub model: ModelId,
    /// Its version.
    pub version: u32,
    /// The file's name.
    pub file: String,
    /// Whether it is one of the merged model.
    pub merged: bool,
}

impl Command for DownloadModelFile {
    type Refusal = NoSuchContent;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<Model>(self.model, loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let model = shared::resource::<Model>(self.model, loaded);
        Needs::one(Action::ModelsRead, model.clone())
            .and(Action::ModelsExport, model)
            .into()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<NoSuchContent> {
        let model: Model = loaded.get(self.model);
        let version = model.version(Some(self.version)).ok_or(NoSuchContent)?;
        let files = match (self.merged, &version.merged) {
            (false, _) => &version.files,
            (true, Some(merged)) => &merged.files,
            (true, None) => return Err(NoSuchContent.into()),
        };
        if !files.iter().any(|file| file.name == self.file) {
            return Err(NoSuchContent.into());
        }
        let event = ReadEvent::ModelDownloaded {
            model: self.model,
            version: self.version,
            file: self.file.clone(),
            merged: self.merged,
        };
        Ok(NewEvents::record::<SensitiveReads>(
            context.principal.actor(),
            &event,
        ))
    }
}

/// The same read again within the hour: permitted and checked like the first, and not recorded again.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a, C>(pub &'a C);

impl<C: Command> Command for Again<'_, C> {
    type Refusal = C::Refusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        self.0.reads(loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        self.0.requires(loaded)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<C::Refusal> {
        self.0.decide(loaded, context).map(|_| NewEvents::none())
    }
}
