//! Workers as the log knows them: what they declared when they came, that they shall go, that they went
//! (WK-2).
//!
//! One rule: whether a worker is alive is no fact. That is its heartbeat, in a table; the log says what was declared
//! and decided.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{kind::KindName, requirements::WorkerCapabilities};
use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::WorkerId,
    payload::Leaves,
    text::{self, TextProblem},
};

/// What a worker declares about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Declaration {
    /// The worker; fresh with each start.
    pub worker: WorkerId,
    /// Its name: host and device.
    #[plain]
    pub name: String,
    /// The machine.
    #[plain]
    pub host: String,
    /// What it computes on: `cpu` or `cuda`.
    #[plain]
    pub device: String,
    /// Bytes of memory of that device; `None` when the system does not tell.
    pub memory_bytes: Option<u64>,
    /// The version of Anneal.
    #[plain]
    pub code_version: String,
    /// See [`super::requirements::ENGINE`].
    pub engine: u32,
    /// Its labels; the device is one.
    #[plain]
    pub labels: BTreeSet<String>,
    /// The kinds of jobs that it takes.
    #[serde(default = "trains", skip_serializing_if = "only_trains")]
    pub kinds: BTreeSet<KindName>,
}

/// What workers took before there were kinds.
fn trains() -> BTreeSet<KindName> {
    BTreeSet::from([KindName::Training])
}

fn only_trains(kinds: &BTreeSet<KindName>) -> bool {
    *kinds == trains()
}

impl Declaration {
    /// What of it decides which jobs it can run.
    #[must_use]
    pub fn capabilities(&self) -> WorkerCapabilities {
        WorkerCapabilities {
            labels: self.labels.clone(),
            memory_bytes: self.memory_bytes,
            engine: self.engine,
            kinds: self.kinds.clone(),
        }
    }
}

/// How a worker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum WorkerEnd {
    /// Its process was shut down.
    Stopped,
    /// It was told to go, and has.
    Drained,
    /// It was not heard of for long.
    Lost,
}

/// Facts about a worker.
#[event(context = "jobs", subject = nobody)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It came; or came back after it was given up.
    #[event(name = "WorkerRegistered")]
    Registered(Declaration),
    /// It shall take no more jobs and go.
    #[event(name = "WorkerDrainRequested", subject = actor)]
    DrainRequested {
        /// Whether it gives the job back that it has, with its state saved, instead of finishing it.
        at_once: bool,
        /// Why, in the words of who asked.
        #[plain]
        reason: String,
    },
    /// It went.
    #[event(name = "WorkerEnded")]
    Ended {
        /// How.
        how: WorkerEnd,
    },
}

/// A worker.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// What it declared, while it is there.
    pub declared: Option<Declaration>,
    /// Whether it shall take no more jobs. Stays when it was given up and comes back.
    pub draining: bool,
    /// Whether it gives the job back that it has.
    pub at_once: bool,
}

impl Aggregate for Worker {
    const CATEGORY: &'static str = "jobs.worker";
    type Event = WorkerEvent;

    fn evolve(&mut self, event: &WorkerEvent) {
        match event {
            WorkerEvent::Registered(declaration) => self.declared = Some(declaration.clone()),
            WorkerEvent::DrainRequested { at_once, .. } => {
                self.draining = true;
                self.at_once |= at_once;
            }
            WorkerEvent::Ended { .. } => self.declared = None,
        }
    }
}

/// Why a worker is not registered, drained or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerRefusal {
    /// It went.
    #[error("the worker has ended")]
    Ended,
    /// The reason is too long, or would steer a terminal.
    #[error(transparent)]
    Reason(#[from] TextProblem),
}

/// A worker is there. Declaring the same again is one declaration.
#[derive(Clone, Debug)]
pub struct RegisterWorker(pub Declaration);

impl Command for RegisterWorker {
    type Refusal = WorkerRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Worker>(self.0.worker);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Worker(self.0.worker)
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<WorkerRefusal> {
        let worker: Worker = loaded.get(self.0.worker);
        if worker.declared.as_ref() == Some(&self.0) {
            return Ok(NewEvents::none());
        }
        let registered = WorkerEvent::Registered(self.0.clone());
        Ok(NewEvents::record::<Worker>(self.0.worker, &registered))
    }
}

/// Tells a worker to take no more jobs and to go once it has none. Takes `system.admin`.
#[derive(Clone, Debug)]
pub struct DrainWorker {
    /// The worker.
    pub worker: WorkerId,
    /// Whether it gives the job back that it has, with its state saved, instead of finishing it. Nothing counts
    /// against that job.
    pub at_once: bool,
    /// Why; may be empty.
    pub reason: String,
}

impl Command for DrainWorker {
    type Refusal = WorkerRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Worker>(self.worker);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::one(Action::SystemAdmin, Resource::kind("system"))
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<WorkerRefusal> {
        let worker: Worker = loaded.get(self.worker);
        if worker.declared.is_none() {
            return Err(WorkerRefusal::Ended.into());
        }
        let reason = text::reason(&self.reason).map_err(WorkerRefusal::Reason)?;
        if worker.draining && (worker.at_once || !self.at_once) {
            return Ok(NewEvents::none());
        }
        let requested = WorkerEvent::DrainRequested {
            at_once: self.at_once,
            reason,
        };
        Ok(NewEvents::record::<Worker>(self.worker, &requested))
    }
}

/// A worker went, or is given up.
#[derive(Clone, Copy, Debug)]
pub struct EndWorker {
    /// The worker.
    pub worker: WorkerId,
    /// How.
    pub how: WorkerEnd,
}

impl Command for EndWorker {
    type Refusal = WorkerRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Worker>(self.worker);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Worker(self.worker)
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<WorkerRefusal> {
        if loaded.get::<Worker>(self.worker).declared.is_none() {
            return Ok(NewEvents::none());
        }
        let ended = WorkerEvent::Ended { how: self.how };
        Ok(NewEvents::record::<Worker>(self.worker, &ended))
    }
}
