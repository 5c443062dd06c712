//! What is special about jobs that train: what they take, and what comes of them.

use std::collections::BTreeMap;

use super::{
    job::{Job, Order},
    kind::Training,
    spec::{Method, TrainingSpec},
};
use crate::{
    authz::{Action, Needs, Resource, Visibility},
    datasets::dataset::Dataset,
    decision::{LoadedState, ReadSet},
    id::UserId,
    models::model::{Lineage, Model, ModelKind},
    projects::project::Project,
    shared,
};

impl Training {
    /// What the access to all that it uses is decided from.
    pub(super) fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<Project>(self.project, loaded, reads);
        shared::read::<Dataset>(self.dataset.dataset, loaded, reads);
        if let Some(base) = &self.base {
            shared::read::<Model>(base.version.model, loaded, reads);
        }
    }

    /// What its owner must be allowed to when a worker takes it (AC-6).
    pub(super) fn needs(&self, loaded: &LoadedState, owner: UserId) -> Needs {
        let project = shared::resource::<Project>(self.project, loaded);
        let dataset = shared::resource::<Dataset>(self.dataset.dataset, loaded);
        let needs = Needs::one(Action::TrainingCreate, Resource::kind(Job::KIND))
            .and(Action::ProjectsRead, project)
            .and(Action::DatasetsRead, dataset);
        match &self.base {
            Some(base) => {
                let model = shared::resource::<Model>(base.version.model, loaded);
                for_base(needs, model, &self.spec, owner)
            }
            None => needs,
        }
    }

    /// The content of the model that comes of it.
    pub(super) fn content(&self) -> ModelKind {
        match self.spec.method {
            Method::Scratch(_) | Method::Full => ModelKind::Full,
            Method::Lora(_) => ModelKind::Adapter,
        }
    }

    /// The lineage of the model that comes of it.
    pub(super) fn lineage(
        &self,
        order: &Order,
        metrics: &BTreeMap<String, String>,
        code_version: &str,
        worker: &str,
    ) -> Lineage {
        Lineage::Trained {
            job: order.job,
            dataset: self.dataset.dataset,
            dataset_version: self.dataset.version,
            dataset_sha256: self.dataset.sha256.clone(),
            base: self.base.as_ref().map(|base| base.version),
            base_sha256: self.base.as_ref().map(|base| base.sha256.clone()),
            seed: self.spec.parameters.seed,
            code_version: code_version.to_owned(),
            worker: worker.to_owned(),
            metrics: metrics.clone(),
        }
    }
}

/// `needs`, and what it takes to train on `base`. Where the result holds its weights, who was given a part in it needs one
/// that lets them take it out: what may not be downloaded is not copied by a training either.
pub(super) fn for_base(needs: Needs, base: Resource, spec: &TrainingSpec, owner: UserId) -> Needs {
    let holds_it = spec.outputs.merged || matches!(spec.method, Method::Full);
    let given = base.founder != Some(owner) && base.visibility == Visibility::Private;
    let needs = needs.and(Action::ModelsRead, base.clone());
    match holds_it && given {
        true => needs.and(Action::ModelsExport, base),
        false => needs,
    }
}
