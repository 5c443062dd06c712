//! Samples of jobs.

use time::macros::datetime;

use super::{id, samples_of};
use crate::{
    authz::Visibility,
    datasets::format::Format,
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId, WorkerId},
    jobs::{
        checkpoint::StoredCheckpoint,
        import::ImportedFile,
        job::{
            BaseUse, Checkpoint, DatasetUse, Import, JobEvent, JobKind, KindName, Order, RestartFrom,
            Training,
        },
        progress::{
            Batch, Evaluation, GpuUse, ImportProgress, LogLine, Metrics, Point, ProgressEvent, Sample as Text,
        },
        requirements::JobRequirements,
        spec::{
            Adam, Architecture, ChatTemplate, EarlyStopping, HyperParameters, Learn, Lora, LoraBias, Method,
            Objective, Outputs, Precision, Schedule, TrainingSpec,
        },
        worker::{Declaration, WorkerEnd, WorkerEvent},
    },
    models::model::{ModelFile, ModelVersionRef},
};

samples_of! {
    ProgressEvent {
        Reported => ProgressEvent::Reported { attempt: 1, metrics: batch().metrics() },
        Imported => ProgressEvent::Imported { attempt: 1, progress: import_progress() },
        Logged => ProgressEvent::Logged { attempt: 1, step: 7, samples: batch().samples, log: batch().log },
    } also {
        "gpu" => ProgressEvent::Reported { attempt: 1, metrics: on_a_gpu() },
    }
}

samples_of! {
    WorkerEvent {
        Registered => WorkerEvent::Registered(declaration()),
        DrainRequested => WorkerEvent::DrainRequested { at_once: true, reason: "a new kernel".into() },
        Ended => WorkerEvent::Ended { how: WorkerEnd::Drained },
    } also {
        "imports" => WorkerEvent::Registered(Declaration { kinds: [KindName::Import].into(), ..declaration() }),
    }
}

fn import_progress() -> ImportProgress {
    ImportProgress {
        files: 3,
        total_files: 5,
        bytes: 7_000_000_000,
        total_bytes: 14_000_000_000,
        eta_seconds: Some(40),
    }
}

fn imported() -> ImportedFile {
    ImportedFile {
        file: ModelFile {
            name: "model.safetensors".into(),
            sha256: "60303ae2".into(),
            bytes: 77,
        },
        modified: 1_764_000_000_123_456_789,
        inode: 4_711,
    }
}

fn import() -> Order {
    Order {
        kind: JobKind::Import(Import {
            folder: "qwen".into(),
            description: "Writes verse.".into(),
            visibility: Visibility::Private,
            bytes: 14_000_000_000,
            files: 5,
        }),
        ..order(scratch(), None)
    }
}

fn on_a_gpu() -> Metrics {
    Metrics {
        gpu: Some(GpuUse {
            busy_percent: 97,
            memory_bytes: 1 << 30,
        }),
        ..batch().metrics()
    }
}

fn declaration() -> Declaration {
    Declaration {
        worker: WorkerId(id(9)),
        name: "host/cuda".into(),
        host: "host".into(),
        device: "cuda".into(),
        memory_bytes: Some(1 << 34),
        code_version: "0.1.0".into(),
        engine: 1,
        labels: ["cuda".to_owned(), "fast".to_owned()].into(),
        kinds: [KindName::Training].into(),
    }
}

fn cloned() -> Order {
    Order {
        requirements: JobRequirements {
            priority: 5,
            labels: ["cuda".to_owned()].into(),
            memory_bytes: Some(1 << 33),
            max_run_seconds: Some(3_600),
            engine: 2,
        },
        cloned_from: Some(JobId(id(8))),
        ..order(scratch(), None)
    }
}

fn leased_on_a_gpu() -> JobEvent {
    JobEvent::Leased {
        attempt: 1,
        worker: WorkerId(id(9)),
        worker_name: "host/cuda".into(),
        leased_at: Some(datetime!(2026-11-21 12:00:00.25 UTC)),
        gpu: true,
    }
}

samples_of! {
    JobEvent {
        Queued => JobEvent::Queued(Box::new(order(scratch(), None))),
        Leased => JobEvent::Leased { attempt: 1, worker: WorkerId(id(9)), worker_name: "host/cpu".into(), leased_at: None, gpu: false },
        Started => JobEvent::Started { attempt: 1, from_step: 0, total_steps: 200, trained_parameters: 1_000 },
        CheckpointSaved => JobEvent::CheckpointSaved { attempt: 1, checkpoint: checkpoint() },
        CheckpointStored => JobEvent::CheckpointStored { attempt: 1, checkpoint: stored_checkpoint() },
        CheckpointsReleased => JobEvent::CheckpointsReleased {
            attempt: 1,
            artifacts: vec!["checkpoints/job_1/1/9f86d081".into()],
        },
        FilesStored => JobEvent::FilesStored { attempt: 1, files: vec![imported()] },
        Interrupted => JobEvent::Interrupted { attempt: 1, cause: "the worker is silent".into(), counts: true },
        Completed => JobEvent::Completed {
            attempt: 1,
            model: ModelVersionRef { model: ModelId(id(3)), version: 1 },
            metrics: [("loss".to_owned(), "1.25".to_owned())].into(),
        },
        Failed => JobEvent::Failed { attempt: 1, code: "ATTEMPTS_USED_UP".into(), message: "given up".into() },
        Cancelled => JobEvent::Cancelled { attempt: 1, reason: "a typo".into() },
        PauseRequested => JobEvent::PauseRequested { attempt: 1, reason: "others first".into() },
        Paused => JobEvent::Paused { attempt: 1, reason: "others first".into() },
        Resumed => JobEvent::Resumed { attempt: 1 },
        Restarted => JobEvent::Restarted { attempt: 1, from: RestartFrom::Checkpoint },
        PriorityChanged => JobEvent::PriorityChanged { priority: -1 },
        Metered => JobEvent::Metered {
            attempt: 1,
            worker: WorkerId(id(9)),
            owner: UserId(id(1)),
            project: Some(ProjectId(id(4))),
            milliseconds: 12_345,
            gpu: true,
        },
    } also {
        "lora" => JobEvent::Queued(Box::new(order(lora(), Some(base())))),
        "merged" => JobEvent::Queued(Box::new(with_merged())),
        "full" => JobEvent::Queued(Box::new(full(ChatTemplate::Model))),
        "template" => JobEvent::Queued(Box::new(full(ChatTemplate::Custom("{{ messages }}".into())))),
        "tuned" => JobEvent::Queued(Box::new(tuned())),
        "terms" => JobEvent::Queued(Box::new(cloned())),
        "import" => JobEvent::Queued(Box::new(import())),
        "projectless" => of_an_import(),
        "gpu" => leased_on_a_gpu(),
        "scratch" => JobEvent::Restarted { attempt: 1, from: RestartFrom::Scratch },
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        step: 50,
        location: "job_1/50".into(),
        sha256: "9f86d081".into(),
    }
}

fn stored_checkpoint() -> StoredCheckpoint {
    StoredCheckpoint {
        step: 50,
        sha256: "9f86d081".into(),
        artifact: "checkpoints/job_1/1/9f86d081".into(),
        files: vec![ModelFile {
            name: "parameters.safetensors".into(),
            sha256: "60303ae2".into(),
            bytes: 77,
        }],
    }
}

fn scratch() -> Method {
    Method::Scratch(Architecture {
        layers: 2,
        heads: 2,
        width: 64,
        context: 128,
        vocabulary: 512,
    })
}

fn lora() -> Method {
    Method::Lora(Lora {
        rank: 8,
        alpha: 16.0,
        dropout: 0.05,
        target_modules: vec!["c_attn".into()],
        use_rslora: false,
        bias: LoraBias::None,
        modules_to_save: Vec::new(),
    })
}

/// An order for all weights of a base.
fn full(chat_template: ChatTemplate) -> Order {
    let mut training = training(Method::Full, Some(base()));
    training.spec.objective.chat_template = chat_template;
    ordered(training)
}

/// An order for an adapter, and the base with it merged into it.
fn with_merged() -> Order {
    let mut training = training(lora(), Some(base()));
    training.spec.outputs.merged = true;
    let mut order = ordered(training);
    order.requirements.engine = 2;
    order
}

/// An order that uses everything that the first ones could not.
fn tuned() -> Order {
    let method = Method::Lora(Lora {
        rank: 8,
        alpha: 16.0,
        dropout: 0.05,
        target_modules: vec!["all-linear".into()],
        use_rslora: true,
        bias: LoraBias::LoraOnly,
        modules_to_save: vec!["lm_head".into()],
    });
    let mut training = training(method, Some(base()));
    training.spec.objective = Objective {
        learn: Learn::LastAnswer,
        chat_template: ChatTemplate::Named("tool_use".into()),
    };
    training.spec.parameters = HyperParameters {
        steps: 0,
        epochs: Some(1.5),
        minimum_share: 0.1,
        warmup_steps: 0,
        warmup_ratio: Some(0.03),
        adam: Adam {
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-6,
        },
        packing: true,
        precision: Precision::Bf16,
        early_stopping: Some(EarlyStopping {
            patience: 3,
            min_delta: 0.01,
        }),
        keep_best: true,
        sample_every: 25,
        ..parameters()
    };
    ordered(training)
}

fn base() -> BaseUse {
    let version = ModelVersionRef {
        model: ModelId(id(7)),
        version: 1,
    };
    BaseUse {
        version,
        sha256: "60303ae2".into(),
        artifact: "models/base".into(),
    }
}

fn order(method: Method, base: Option<BaseUse>) -> Order {
    ordered(training(method, base))
}

fn ordered(training: Training) -> Order {
    Order {
        job: JobId(id(6)),
        name: "Poet".into(),
        owner: UserId(id(1)),
        model: ModelId(id(3)),
        kind: JobKind::Training(training),
        max_attempts: 3,
        requirements: JobRequirements::default(),
        cloned_from: None,
    }
}

fn training(method: Method, base: Option<BaseUse>) -> Training {
    Training {
        experiment: ExperimentId(id(5)),
        project: ProjectId(id(4)),
        dataset: DatasetUse {
            dataset: DatasetId(id(2)),
            version: 1,
            sha256: "9f86d081".into(),
            format: Format::PlainText,
        },
        base,
        spec: TrainingSpec {
            method,
            objective: Objective::default(),
            parameters: parameters(),
            outputs: Outputs::default(),
        },
    }
}

fn of_an_import() -> JobEvent {
    JobEvent::Metered {
        attempt: 1,
        worker: WorkerId(id(9)),
        owner: UserId(id(1)),
        project: None,
        milliseconds: 12_345,
        gpu: false,
    }
}

/// Spelt out: defaults may change, what was recorded does not.
fn parameters() -> HyperParameters {
    HyperParameters {
        steps: 200,
        epochs: None,
        batch_size: 8,
        gradient_accumulation: 1,
        learning_rate: 0.001,
        schedule: Schedule::Cosine,
        minimum_share: 0.0,
        warmup_steps: 10,
        warmup_ratio: None,
        weight_decay: 0.01,
        adam: Adam {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        },
        clip_norm: 1.0,
        sequence_length: 128,
        packing: false,
        precision: Precision::F32,
        evaluation_share: 0.05,
        evaluate_every: 50,
        early_stopping: None,
        keep_best: false,
        checkpoint_every: 50,
        seed: 1,
        sample_prompt: "Tyger".into(),
        sample_tokens: 64,
        sample_every: 0,
    }
}

fn batch() -> Batch {
    let point = Point {
        step: 7,
        loss: 3.5,
        learning_rate: 0.001,
        gradient_norm: 0.5,
        tokens_per_second: 900.0,
    };
    Batch {
        step: 7,
        total_steps: 200,
        eta_seconds: Some(60),
        memory_bytes: Some(1 << 28),
        gpu: None,
        points: vec![point],
        evaluations: vec![Evaluation { step: 7, loss: 3.75 }],
        samples: vec![Text {
            step: 7,
            prompt: "Tyger".into(),
            text: "Tyger, burning".into(),
        }],
        log: vec![LogLine {
            level: "info".into(),
            message: "begins".into(),
        }],
    }
}
