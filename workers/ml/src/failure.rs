//! Why a training failed, as data for the server.
//!
//! Rule: every failure has a stable code for programs and a message that tells a person what to do next.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};

/// The stable code of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The job file or the specification is invalid.
    SpecInvalid,
    /// There is nothing to train on: no text, too little text, or no answer of an assistant.
    DatasetEmpty,
    /// A dataset file is missing, not UTF-8 or not in the declared format.
    DatasetUnreadable,
    /// The base model's folder is incomplete, damaged or of an unsupported architecture.
    BaseModelInvalid,
    /// A chat template is missing, not valid Jinja, does not terminate, or rejects the conversations.
    ChatTemplateInvalid,
    /// The loss or a gradient is infinite or NaN.
    LossNotFinite,
    /// No checkpoint is intact.
    CheckpointCorrupt,
    /// The checkpoint belongs to another specification, dataset or base model.
    CheckpointMismatch,
    /// The disk is full.
    DiskFull,
    /// The training does not fit into the available memory.
    OutOfMemory,
    /// The device of the job file does not exist, or this build does not support it.
    DeviceUnavailable,
    /// A defect of this program.
    Internal,
}

/// A failed training.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure.
    pub code: FailureCode,
    /// What happened and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure of kind `code`.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The failure of `action` on `path` with an error of the operating system: [`FailureCode::DiskFull`] where the
    /// disk or a quota is exhausted, else `otherwise`. The message contains only the last component of `path`.
    #[must_use]
    pub fn io(otherwise: FailureCode, action: &str, path: &Path, error: &io::Error) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::new(
                FailureCode::DiskFull,
                format!(
                    "cannot {action} {name}: the disk is full; free space and resume from the last checkpoint"
                ),
            ),
            _ => Self::new(otherwise, format!("cannot {action} {name}: {error}")),
        }
    }

    /// A defect of this program that shows while it does `action`.
    pub fn internal(action: &str, error: impl fmt::Display) -> Self {
        Self::new(
            FailureCode::Internal,
            format!("cannot {action}: {error}; this is a defect, please report it"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_as_such_whatever_was_being_written() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let failure = Failure::io(
            FailureCode::Internal,
            "write",
            Path::new("/data/jobs/7/weights"),
            &full,
        );
        assert_eq!(failure.code, FailureCode::DiskFull);
        assert!(
            failure.message.contains("weights") && failure.message.contains("free space"),
            "{failure}"
        );
        assert!(
            !failure.message.contains("/data"),
            "folders of the machine stay private: {failure}"
        );
    }
}
