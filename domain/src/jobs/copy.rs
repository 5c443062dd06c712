//! Making a job after another one (JB-3).
//!
//! One rule: a clone is an order of its own, checked like any other; nothing of the first job's past comes
//! with it, no checkpoint and no attempts.

use super::{
    job::Job,
    spec::TrainingSpec,
    start::{StartJob, StartJobRefusal},
    terms::Terms,
};
use crate::{
    authz::{Action, Requirement},
    execute::{Command, Context, Decision},
    id::{ExperimentId, JobId, ModelId, UserId},
    world::{Changes, Reads, World},
};

/// Queues a job with the specification of another one: the same dataset version, base version, experiment
/// and terms, but for what is given here. Needs to see that job, and everything that starting one needs.
#[derive(Clone, Debug)]
pub struct CloneJob {
    /// The job to copy.
    pub source: JobId,
    /// Id of the new one.
    pub job: JobId,
    /// Id of the model that will come of it.
    pub model: ModelId,
    /// Who starts it.
    pub owner: UserId,
    /// Its name; that of the first if `None`.
    pub name: Option<String>,
    /// Where it belongs; as the first if `None`.
    pub experiment: Option<ExperimentId>,
    /// What it does; as the first if `None`.
    pub spec: Option<TrainingSpec>,
    /// When and where it may run; as the first if `None`.
    pub terms: Option<Terms>,
    /// After how many lost workers it is given up.
    pub max_attempts: u32,
    /// The most seconds that any job may run.
    pub longest_run_seconds: Option<u32>,
}

impl CloneJob {
    /// The order as it would be given by hand; `None` when there is no such job.
    fn start(&self, world: &World) -> Option<StartJob> {
        let order = world.get::<Job>(self.source).order?;
        Some(StartJob {
            job: self.job,
            model: self.model,
            owner: self.owner,
            name: self.name.clone().unwrap_or(order.name),
            experiment: self.experiment.unwrap_or(order.experiment),
            dataset: (order.dataset.dataset, Some(order.dataset.version)),
            base: order
                .base
                .map(|base| (base.version.model, Some(base.version.version))),
            spec: self.spec.clone().unwrap_or(order.spec),
            max_attempts: self.max_attempts,
            terms: self.terms.clone().unwrap_or(order.terms),
            longest_run_seconds: self.longest_run_seconds,
            cloned_from: Some(self.source),
        })
    }
}

impl Command for CloneJob {
    type Refusal = StartJobRefusal;

    fn reads(&self, world: &World, reads: &mut Reads) {
        reads.read::<Job>(self.source);
        if let Some(start) = self.start(world) {
            start.reads(world, reads);
        }
    }

    fn requires(&self, world: &World) -> Requirement {
        let source = world.get::<Job>(self.source).resource(self.source);
        let mut all = vec![(Action::TrainingRead, source)];
        if let Some(Requirement::All(needed)) = self.start(world).map(|start| start.requires(world)) {
            all.extend(needed);
        }
        Requirement::All(all)
    }

    fn decide(&self, world: &World, context: &Context<'_>) -> Decision<StartJobRefusal> {
        match self.start(world) {
            Some(start) => start.decide(world, context),
            None => Ok(Changes::none()),
        }
    }
}
