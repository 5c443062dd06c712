//! The inputs that the schema only names: its custom scalars and input objects.
//!
//! One rule: each type that a client can send and that is not built in stands here, so that what clients send is
//! read before anything runs. A schema with a type that is missing here is not built; see `spec::SpecSchema::with`.

use super::{
    access::RoleChangeInput,
    as_of::AsOfInput,
    audit::AuditFilter,
    datasets::CreateDatasetInput,
    identity::{
        AccountInput, CreateFirstAdministratorInput, ErasePersonInput, LoginInput, LogoutInput, RefreshInput,
        RegisterInput, RevokeSessionInput, SetUserActiveInput, VerifyEmailInput,
    },
    jobs::{
        CancelJobInput, ChangeJobPriorityInput, ChatTemplateInput, CloneJobInput, EarlyStoppingInput,
        FullInput, HyperParametersInput, JobOutputsInput, JobRequirementsInput, LoraInput, MethodInput,
        ObjectiveInput, PauseJobInput, RestartJobInput, ResumeJobInput, ScratchInput, StartJobInput,
    },
    models::ImportModelInput,
    notifications::{DeadLetterFilter, RedriveDeadLettersInput},
    projects::{CreateExperimentInput, CreateProjectInput},
    scalars::{DateTime, JsonValue, Long},
    sharing::{RevokeModelAccessInput, ShareModelInput},
    spec::InputChecks,
    types::{
        DatasetFilter, DatasetOrder, ExperimentFilter, ExperimentOrder, JobFilter, JobOrder, ModelFilter,
        ModelOrder, ProjectFilter, ProjectOrder, UserFilter, UserOrder, WorkerFilter, WorkerOrder,
    },
    workers::DrainWorkerInput,
};
use uuid::Uuid;

/// What reads the inputs of the schema.
#[must_use]
pub fn checks() -> InputChecks {
    let checks = scalars(InputChecks::default());
    let checks = identity(checks);
    let checks = lists(jobs(checks));
    checks
        .with::<AsOfInput>()
        .with::<AuditFilter>()
        .with::<CreateDatasetInput>()
        .with::<CreateExperimentInput>()
        .with::<CreateProjectInput>()
        .with::<DeadLetterFilter>()
        .with::<DrainWorkerInput>()
        .with::<ImportModelInput>()
        .with::<RedriveDeadLettersInput>()
        .with::<RevokeModelAccessInput>()
        .with::<ShareModelInput>()
}

fn scalars(checks: InputChecks) -> InputChecks {
    checks
        .with::<DateTime>()
        .with::<JsonValue>()
        .with::<Long>()
        .with::<Uuid>()
}

fn lists(checks: InputChecks) -> InputChecks {
    checks
        .with::<DatasetFilter>()
        .with::<DatasetOrder>()
        .with::<ExperimentFilter>()
        .with::<ExperimentOrder>()
        .with::<JobFilter>()
        .with::<JobOrder>()
        .with::<ModelFilter>()
        .with::<ModelOrder>()
        .with::<ProjectFilter>()
        .with::<ProjectOrder>()
        .with::<UserFilter>()
        .with::<UserOrder>()
        .with::<WorkerFilter>()
        .with::<WorkerOrder>()
}

fn identity(checks: InputChecks) -> InputChecks {
    checks
        .with::<AccountInput>()
        .with::<CreateFirstAdministratorInput>()
        .with::<ErasePersonInput>()
        .with::<LoginInput>()
        .with::<LogoutInput>()
        .with::<RefreshInput>()
        .with::<RegisterInput>()
        .with::<RevokeSessionInput>()
        .with::<RoleChangeInput>()
        .with::<SetUserActiveInput>()
        .with::<VerifyEmailInput>()
}

fn jobs(checks: InputChecks) -> InputChecks {
    checks
        .with::<CancelJobInput>()
        .with::<ChangeJobPriorityInput>()
        .with::<ChatTemplateInput>()
        .with::<CloneJobInput>()
        .with::<EarlyStoppingInput>()
        .with::<FullInput>()
        .with::<HyperParametersInput>()
        .with::<JobOutputsInput>()
        .with::<JobRequirementsInput>()
        .with::<LoraInput>()
        .with::<MethodInput>()
        .with::<ObjectiveInput>()
        .with::<PauseJobInput>()
        .with::<RestartJobInput>()
        .with::<ResumeJobInput>()
        .with::<ScratchInput>()
        .with::<StartJobInput>()
}
