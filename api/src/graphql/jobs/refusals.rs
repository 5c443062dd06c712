//! How refusals about jobs are told: each problem at its path in the input.

use domain::jobs::{
    control::ControlRefusal,
    import::ImportProblem,
    spec,
    start::{CancelRefusal, StartJobRefusal},
};

use crate::graphql::user_error::{Problem, UserError, UserErrorCode, UserErrors};

/// Fields of the requirements, by the domain's names.
const REQUIREMENT_FIELDS: [&str; 4] = ["priority", "labels", "memoryBytes", "maxRunSeconds"];

impl UserErrors for StartJobRefusal {
    fn user_errors(self) -> Vec<UserError> {
        self.each().into_iter().flat_map(user_errors).collect()
    }
}

fn user_errors(reason: StartJobRefusal) -> Vec<UserError> {
    let message = reason.to_string();
    match reason {
        StartJobRefusal::Spec(problems) => {
            let user_error = |problem: spec::SpecProblem| {
                let path = match problem.field.strip_prefix("architecture.") {
                    Some(field) => format!("method.scratch.{field}"),
                    None if REQUIREMENT_FIELDS.contains(&problem.field) => {
                        format!("requirements.{}", problem.field)
                    }
                    None => problem.field.replace("lora.", "method.lora."),
                };
                UserError::at(&path, problem.message, UserErrorCode::Invalid)
            };
            problems.0.into_iter().map(user_error).collect()
        }
        StartJobRefusal::Name(_) => vec![UserError::at("name", message, UserErrorCode::Invalid)],
        StartJobRefusal::NoDatasetVersion => {
            vec![UserError::at("datasetVersion", message, UserErrorCode::NotFound)]
        }
        StartJobRefusal::NoBaseVersion => {
            vec![UserError::at(
                "method.lora.baseModelVersion",
                message,
                UserErrorCode::NotFound,
            )]
        }
        StartJobRefusal::NoTraining => vec![UserError::at("jobId", message, UserErrorCode::Invalid)],
        StartJobRefusal::BaseMissing | StartJobRefusal::BaseUnwanted | StartJobRefusal::BaseIsAdapter => {
            vec![UserError::at("method", message, UserErrorCode::BaseModel)]
        }
        StartJobRefusal::Quota(_) | StartJobRefusal::Storage(_) | StartJobRefusal::GpuHours(_) => {
            vec![UserError::whole(message, UserErrorCode::QuotaExceeded)]
        }
        StartJobRefusal::IdTaken | StartJobRefusal::Several(_) => {
            vec![UserError::whole(message, UserErrorCode::Invalid)]
        }
    }
}

impl Problem for ControlRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::AlreadyEnded => ("jobId", UserErrorCode::AlreadyEnded),
            Self::Completed => ("jobId", UserErrorCode::Completed),
            Self::NotEnded => ("jobId", UserErrorCode::NotEnded),
            Self::NoCheckpoint => ("from", UserErrorCode::NoCheckpoint),
            Self::Reason(_) => ("reason", UserErrorCode::Invalid),
            Self::Priority(_) => ("priority", UserErrorCode::Invalid),
            Self::Quota(_) | Self::GpuHours(_) | Self::Storage(_) => ("jobId", UserErrorCode::QuotaExceeded),
        }
    }
}

impl Problem for CancelRefusal {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::AlreadyEnded => ("jobId", UserErrorCode::AlreadyEnded),
            Self::Reason(_) => ("reason", UserErrorCode::Invalid),
        }
    }
}

impl Problem for ImportProblem {
    fn place(&self) -> (&'static str, UserErrorCode) {
        match self {
            Self::Text(problem) => problem.place(),
            Self::Storage(_) => ("folder", UserErrorCode::QuotaExceeded),
            Self::Jobs(_) => ("", UserErrorCode::QuotaExceeded),
            Self::IdTaken => ("", UserErrorCode::Invalid),
        }
    }
}
