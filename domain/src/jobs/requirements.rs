//! Scheduling requirements of a job: its priority, what it needs of a worker, and how long it may run (JB-6).
//!
//! One rule: whether a worker fits is decided from what both have declared, and a refusal names what is missing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::payload::Leaves;

use super::{
    kind::KindName,
    spec::{Precision, SpecProblem, TrainingSpec},
};

/// The newest order that the engine of this build can run. Raised, together with [`engine_needed`], when orders learn
/// something that an older worker would not do.
pub const ENGINE: u32 = 3;
/// The engine that a worker needs to import models.
pub const IMPORTS: u32 = 3;
/// Least and highest priority.
pub const PRIORITIES: std::ops::RangeInclusive<i8> = -10..=10;
/// The label of workers that compute on an NVIDIA GPU.
pub const CUDA: &str = "cuda";

/// Labels of a job or a worker at most.
const LABELS: usize = 16;
/// Characters of a label at most.
const LABEL: usize = 40;
/// Seconds that a job may ask for at most: a year.
const YEAR: u32 = 31_536_000;
/// Bytes that a job may ask for at most: 1 PiB.
const MOST_BYTES: u64 = 1 << 50;

/// What a job requires of the worker and the queue. Recorded as `terms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct JobRequirements {
    /// Higher goes first; see [`PRIORITIES`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i8,
    /// Labels that its worker must have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[plain]
    pub labels: BTreeSet<String>,
    /// Bytes of memory that its worker must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Seconds on workers, over all attempts, after which it is failed; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_run_seconds: Option<u32>,
    /// The [`ENGINE`] that its worker must have at least.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub engine: u32,
}

impl Default for JobRequirements {
    fn default() -> Self {
        Self {
            priority: 0,
            labels: BTreeSet::new(),
            memory_bytes: None,
            max_run_seconds: None,
            engine: first(),
        }
    }
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(engine: &u32) -> bool {
    *engine == first()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(priority: &i8) -> bool {
    *priority == 0
}

/// The engine that a worker needs to run `spec`: the second for a merged model, which the first would leave out
/// without a word; the first for everything else.
#[must_use]
pub fn engine_needed(spec: &TrainingSpec) -> u32 {
    if spec.outputs.merged { 2 } else { first() }
}

/// The label that a worker must have to run `spec`: only GPUs compute in bfloat16.
#[must_use]
pub fn label_needed(spec: &TrainingSpec) -> Option<&'static str> {
    match spec.parameters.precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(CUDA),
    }
}

/// Whether `label` is one: 1 to 40 of `a-z`, `0-9`, `.`, `_`, `-`.
#[must_use]
pub fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=LABEL).contains(&label.len()) && label.bytes().all(fits)
}

impl JobRequirements {
    pub(super) fn are_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only a worker with a GPU can take it.
    #[must_use]
    pub fn demands_gpu(&self) -> bool {
        self.labels.contains(CUDA)
    }

    /// Everything that is wrong with them. `longest`: the most seconds that any job may run.
    #[must_use]
    pub fn problems(&self, longest: Option<u32>) -> Vec<SpecProblem> {
        let mut found = Vec::new();
        let mut problem = |field, message| found.push(SpecProblem { field, message });
        if !PRIORITIES.contains(&self.priority) {
            problem("priority", priority_problem(self.priority));
        }
        if self.labels.len() > LABELS {
            let message = format!("{} labels; at most {LABELS} are allowed", self.labels.len());
            problem("labels", message);
        }
        for label in self.labels.iter().filter(|label| !is_label(label)) {
            let message = format!("'{label}' is not 1 to {LABEL} of a-z, 0-9, '.', '_' and '-'");
            problem("labels", message);
        }
        if let Some(bytes) = self
            .memory_bytes
            .filter(|bytes| !(1..=MOST_BYTES).contains(bytes))
        {
            problem(
                "memoryBytes",
                format!("{bytes} is not at least 1 and at most {MOST_BYTES}"),
            );
        }
        let longest = longest.unwrap_or(YEAR);
        if let Some(seconds) = self
            .max_run_seconds
            .filter(|seconds| !(1..=longest).contains(seconds))
        {
            problem(
                "maxRunSeconds",
                format!("{seconds} is not at least 1 and at most {longest}"),
            );
        }
        found
    }
}

/// What is wrong with this priority, in words.
pub(super) fn priority_problem(priority: i8) -> String {
    let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
    format!("{priority} is not at least {least} and at most {most}")
}

/// The capabilities that a worker has declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCapabilities {
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// Bytes of memory; `None` when the system does not tell: then it counts as enough.
    pub memory_bytes: Option<u64>,
    /// Its [`ENGINE`].
    pub engine: u32,
    /// The kinds of jobs that it takes.
    pub kinds: BTreeSet<KindName>,
}

impl Default for WorkerCapabilities {
    /// A worker without labels, of this build, that trains.
    fn default() -> Self {
        Self {
            labels: BTreeSet::new(),
            memory_bytes: None,
            engine: ENGINE,
            kinds: BTreeSet::from([KindName::Training]),
        }
    }
}

/// Why a worker cannot run a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It takes no jobs of that kind.
    #[error("the worker takes no jobs of the kind {}", .0.name())]
    Kind(KindName),
    /// It lacks labels.
    #[error("the job demands a worker with the label {0}")]
    Label(String),
    /// It is too small.
    #[error("the job demands {demanded} bytes of memory, the worker has {there}")]
    Memory {
        /// By the job.
        demanded: u64,
        /// At the worker.
        there: u64,
    },
    /// It is too old.
    #[error("the job needs engine {needed}, the worker has {there}; update the worker")]
    Engine {
        /// By the job.
        needed: u32,
        /// At the worker.
        there: u32,
    },
}

impl WorkerCapabilities {
    /// Whether a job of `kind` under `requirements` can be run.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn fit(&self, kind: KindName, requirements: &JobRequirements) -> Result<(), Unfit> {
        if !self.kinds.contains(&kind) {
            return Err(Unfit::Kind(kind));
        }
        let (needed, there) = (requirements.engine, self.engine);
        if needed > there {
            return Err(Unfit::Engine { needed, there });
        }
        if let Some(label) = requirements.labels.difference(&self.labels).next() {
            return Err(Unfit::Label(label.clone()));
        }
        match (requirements.memory_bytes, self.memory_bytes) {
            (Some(demanded), Some(there)) if demanded > there => Err(Unfit::Memory { demanded, there }),
            _ => Ok(()),
        }
    }

    /// Whether it computes on a GPU.
    #[must_use]
    pub fn gpu(&self) -> bool {
        self.labels.contains(CUDA)
    }
}

#[cfg(test)]
mod tests {
    use super::{JobRequirements, KindName, Unfit, WorkerCapabilities};

    fn labels(names: &[&str]) -> std::collections::BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// JB-6
    #[test]
    fn a_worker_fits_when_it_has_all_that_is_demanded() {
        let requirements = JobRequirements {
            labels: labels(&["cuda", "fast"]),
            memory_bytes: Some(100),
            ..JobRequirements::default()
        };
        let worker = WorkerCapabilities {
            labels: labels(&["cuda", "fast", "big"]),
            memory_bytes: Some(100),
            ..WorkerCapabilities::default()
        };
        assert_eq!(worker.fit(KindName::Training, &requirements), Ok(()));
        let import = worker.fit(KindName::Import, &requirements);
        assert_eq!(import, Err(Unfit::Kind(KindName::Import)));
        let small = WorkerCapabilities {
            memory_bytes: Some(99),
            ..worker.clone()
        };
        assert_eq!(
            small.fit(KindName::Training, &requirements),
            Err(Unfit::Memory {
                demanded: 100,
                there: 99
            })
        );
        let silent = WorkerCapabilities {
            memory_bytes: None,
            ..worker.clone()
        };
        assert_eq!(silent.fit(KindName::Training, &requirements), Ok(()));
        let plain = WorkerCapabilities {
            labels: labels(&["cuda"]),
            ..worker.clone()
        };
        assert_eq!(
            plain.fit(KindName::Training, &requirements),
            Err(Unfit::Label("fast".to_owned()))
        );
        let old = WorkerCapabilities { engine: 0, ..worker };
        assert!(
            old.fit(KindName::Training, &requirements)
                .expect_err("too old")
                .to_string()
                .contains("update the worker")
        );
    }

    /// JB-1: every problem at once.
    #[test]
    fn all_that_is_wrong_with_terms_is_named() {
        let requirements = JobRequirements {
            priority: 11,
            labels: labels(&["Cuda", "", "ok"]),
            memory_bytes: Some(0),
            max_run_seconds: Some(61),
            ..JobRequirements::default()
        };
        let fields: Vec<&str> = requirements
            .problems(Some(60))
            .iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(
            fields,
            ["priority", "labels", "labels", "memoryBytes", "maxRunSeconds"]
        );
        assert_eq!(JobRequirements::default().problems(Some(60)), []);
    }
}
