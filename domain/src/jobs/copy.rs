//! Making a job after another one (JB-3).
//!
//! One rule: a clone is an order of its own, checked like any other; nothing of the first job's past comes
//! with it, no checkpoint and no attempts.

use super::{
    job::Job,
    requirements::JobRequirements,
    shape::Shape,
    spec::TrainingSpec,
    start::{StartJob, StartJobRefusal},
};
use crate::{
    authz::{Action, Needs, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{ExperimentId, JobId, ModelId, UserId},
};

/// Queues a job with the specification of another one: the same dataset version, base version, experiment
/// and requirements as they were ordered, but for what is given here. Needs to see that job, and everything that
/// starting one needs.
#[derive(Clone, Debug)]
pub struct CloneJob {
    /// The job to copy.
    pub source: JobId,
    /// Id of the new one.
    pub job: JobId,
    /// Id of the model that will come of it.
    pub model: ModelId,
    /// The user who starts it.
    pub owner: UserId,
    /// Its name; that of the first if `None`.
    pub name: Option<String>,
    /// Where it belongs; as the first if `None`.
    pub experiment: Option<ExperimentId>,
    /// The shape of the base, as in [`StartJob`].
    pub base_shape: Option<Shape>,
    /// What it does; as the first if `None`.
    pub spec: Option<TrainingSpec>,
    /// When and where it may run; as the first if `None`.
    pub requirements: Option<JobRequirements>,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
    /// The most seconds that any job may run.
    pub longest_run_seconds: Option<u32>,
}

impl CloneJob {
    /// The order as it would be given by hand; `None` when there is no such job, or one that trains nothing.
    fn start(&self, loaded: &LoadedState) -> Option<StartJob> {
        let order = loaded.get::<Job>(self.source).order?;
        let training = order.training()?.clone();
        Some(StartJob {
            job: self.job,
            model: self.model,
            owner: self.owner,
            name: self.name.clone().unwrap_or(order.name),
            experiment: self.experiment.unwrap_or(training.experiment),
            dataset: (training.dataset.dataset, Some(training.dataset.version)),
            base: training
                .base
                .map(|base| (base.version.model, Some(base.version.version))),
            base_shape: self.base_shape,
            spec: self.spec.clone().unwrap_or(training.spec),
            max_attempts: self.max_attempts,
            requirements: self.requirements.clone().unwrap_or(order.requirements),
            longest_run_seconds: self.longest_run_seconds,
            cloned_from: Some(self.source),
        })
    }
}

impl Command for CloneJob {
    type Refusal = StartJobRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Job>(self.source);
        if let Some(start) = self.start(loaded) {
            start.reads(loaded, reads);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let source = loaded.get::<Job>(self.source).resource(self.source);
        let needs = Needs::one(Action::TrainingRead, source);
        match self.start(loaded) {
            Some(start) => needs.and_all(start.needs(loaded)).into(),
            None => needs.into(),
        }
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<StartJobRefusal> {
        match self.start(loaded) {
            Some(start) => start.decide(loaded, context),
            None if loaded.get::<Job>(self.source).order.is_some() => Err(StartJobRefusal::NoTraining.into()),
            None => Ok(NewEvents::none()),
        }
    }
}
