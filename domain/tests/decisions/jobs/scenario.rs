//! A job and its events: the scenario of the tests in this folder.

use domain::{
    access::{
        ledger::{LedgerEvent, QuotaLedger},
        quota::Quota,
    },
    authz::Principal,
    datasets::format::Format,
    id::WorkerId,
    jobs::{
        checkpoint::{StoredCheckpoint, place},
        job::{BaseUse, Checkpoint, DatasetUse, Job, JobEvent, JobKind, Order, Training},
        report::{AttemptReport, Report},
        requirements::JobRequirements,
        spec::{Architecture, HyperParameters, Lora, Method, Objective, Outputs, TrainingSpec},
        start::StartJob,
    },
    models::model::{ModelFile, ModelVersionRef},
};

use crate::support::{given_when_then::Given, log::ExpectedEvent, *};

pub(crate) fn scratch() -> TrainingSpec {
    let shape = Architecture {
        layers: 2,
        heads: 2,
        width: 64,
        context: 128,
        vocabulary: 512,
    };
    TrainingSpec {
        outputs: Outputs::default(),
        method: Method::Scratch(shape),
        objective: Objective::default(),
        parameters: HyperParameters::default(),
    }
}

pub(crate) fn lora() -> TrainingSpec {
    let lora = Lora {
        rank: 8,
        alpha: 16.0,
        dropout: 0.0,
        target_modules: vec!["c_attn".into()],
        ..Lora::default()
    };
    TrainingSpec {
        outputs: Outputs::default(),
        method: Method::Lora(lora),
        objective: Objective::default(),
        parameters: HyperParameters::default(),
    }
}

/// Ada starts a job from scratch.
pub(crate) fn start() -> StartJob {
    StartJob {
        job: JOB,
        model: MODEL,
        owner: ADA,
        name: "Poet".into(),
        experiment: EXPERIMENT,
        dataset: (DATASET, None),
        base: None,
        base_shape: None,
        spec: scratch(),
        max_attempts: 3,
        requirements: JobRequirements::default(),
        longest_run_seconds: None,
        cloned_from: None,
    }
}

/// Ada starts a job on her base.
pub(crate) fn start_lora() -> StartJob {
    StartJob {
        base: Some((BASE, None)),
        spec: lora(),
        ..start()
    }
}

pub(crate) fn order() -> Order {
    Order {
        job: JOB,
        name: "Poet".into(),
        owner: ADA,
        model: MODEL,
        kind: JobKind::Training(training()),
        max_attempts: 3,
        requirements: JobRequirements::default(),
        cloned_from: None,
    }
}

fn training() -> Training {
    Training {
        experiment: EXPERIMENT,
        project: PROJECT,
        dataset: DatasetUse {
            dataset: DATASET,
            version: 1,
            sha256: "first".into(),
            format: Format::PlainText,
        },
        base: None,
        spec: scratch(),
    }
}

/// An order of the scenario with another specification.
pub(crate) fn with_spec(order: Order, change: impl FnOnce(&mut TrainingSpec)) -> Order {
    let mut training = order.training().expect("a training").clone();
    change(&mut training.spec);
    Order {
        kind: JobKind::Training(training),
        ..order
    }
}

pub(crate) fn order_lora() -> Order {
    let version = ModelVersionRef {
        model: BASE,
        version: 1,
    };
    let base = BaseUse {
        version,
        sha256: "base-hash".into(),
        artifact: "models/base".into(),
    };
    Order {
        kind: JobKind::Training(Training {
            base: Some(base),
            spec: lora(),
            ..training()
        }),
        ..order()
    }
}

pub(crate) fn queued() -> JobEvent {
    JobEvent::Queued(Box::new(order()))
}

pub(crate) fn leased(attempt: u32) -> JobEvent {
    leased_by(attempt, WORKER)
}

pub(crate) fn leased_by(attempt: u32, worker: WorkerId) -> JobEvent {
    JobEvent::Leased {
        attempt,
        worker,
        worker_name: "host/cpu".into(),
        leased_at: None,
        gpu: false,
    }
}

/// As [`leased`], at [`NOW`] less so many seconds.
pub(crate) fn leased_before(attempt: u32, seconds: i64) -> JobEvent {
    JobEvent::Leased {
        attempt,
        worker: WORKER,
        worker_name: "host/cpu".into(),
        leased_at: Some(NOW - time::Duration::seconds(seconds)),
        gpu: false,
    }
}

/// What is recorded of an attempt that had its worker for so many milliseconds.
pub(crate) fn metered(attempt: u32, milliseconds: u64) -> JobEvent {
    JobEvent::Metered {
        attempt,
        worker: WORKER,
        owner: ADA,
        project: Some(PROJECT),
        milliseconds,
        gpu: false,
    }
}

pub(crate) fn started(attempt: u32) -> JobEvent {
    JobEvent::Started {
        attempt,
        from_step: 0,
        total_steps: 200,
        trained_parameters: 1_000,
    }
}

pub(crate) fn failed(attempt: u32, code: &str, message: &str) -> JobEvent {
    JobEvent::Failed {
        attempt,
        code: code.into(),
        message: message.into(),
    }
}

pub(crate) fn cancelled(attempt: u32) -> JobEvent {
    JobEvent::Cancelled {
        attempt,
        reason: "a typo".into(),
    }
}

pub(crate) fn checkpoint(step: u32) -> Checkpoint {
    Checkpoint {
        step,
        location: format!("{JOB}/{step}"),
        sha256: format!("hash-{step}"),
    }
}

/// Ada's place among the concurrent jobs is given back.
/// A checkpoint of an attempt in the object store.
pub(crate) fn stored(attempt: u32, step: u32) -> StoredCheckpoint {
    let sha256 = format!("hash-{step}");
    StoredCheckpoint {
        step,
        artifact: place(JOB, attempt, &sha256),
        sha256,
        files: Vec::new(),
    }
}

pub(crate) fn place_released() -> ExpectedEvent {
    let item = JOB.to_string();
    expected_event::<QuotaLedger>(
        ADA,
        &LedgerEvent::Released {
            quota: Quota::ConcurrentJobs,
            item,
        },
    )
}

pub(crate) fn expected_job_event(event: &JobEvent) -> ExpectedEvent {
    expected_event::<Job>(JOB, event)
}

/// The workshop with Ada's job, at which this has happened since it was queued.
pub(crate) fn a_job(since: impl IntoIterator<Item = JobEvent>) -> Given {
    given()
        .a_project_with_data()
        .stream::<QuotaLedger>(ADA, [taken(Quota::ConcurrentJobs, JOB)])
        .stream::<Job>(JOB, std::iter::once(queued()).chain(since))
}

pub(crate) fn worker() -> Principal {
    Principal::Worker(WORKER)
}

pub(crate) fn report(attempt: u32, report: AttemptReport) -> Report {
    Report {
        job: JOB,
        attempt,
        report,
    }
}

pub(crate) fn completion() -> AttemptReport {
    AttemptReport::Completed {
        merged: None,
        artifact: "models/poet".into(),
        sha256: "poet-hash".into(),
        files: vec![ModelFile {
            name: "model.safetensors".into(),
            sha256: "f0".into(),
            bytes: 77,
        }],
        metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
        code_version: "0.1.0".into(),
        worker: "host/cpu".into(),
    }
}
