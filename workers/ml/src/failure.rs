//! Why a training could not be done, as data the server can act on.
//!
//! Rule: every failure has a code that stays stable for programs and a message that tells a person what
//! to do next.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};

/// The stable name of a kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The job file or the specification asks for something impossible.
    SpecInvalid,
    /// There is nothing to learn from: no text, too little text, or no answer of an assistant.
    DatasetEmpty,
    /// A dataset file is missing, not UTF-8 or not in the declared format.
    DatasetUnreadable,
    /// The base model's folder is incomplete, damaged or of an unknown architecture.
    BaseModelInvalid,
    /// A chat template is no Jinja, is not there, goes on without end, or does not fit the conversations.
    ChatTemplateInvalid,
    /// The loss or a gradient became infinite or not a number.
    LossNotFinite,
    /// No checkpoint could be read back as it was written.
    CheckpointCorrupt,
    /// The checkpoint belongs to another specification, dataset or base model.
    CheckpointMismatch,
    /// The disk is full.
    DiskFull,
    /// The training does not fit into the memory that is free.
    OutOfMemory,
    /// The device that the job file names is not there, or cannot be used by this build.
    DeviceUnavailable,
    /// A fault of the program itself.
    Internal,
}

/// A failed training.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
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

    /// The operating system's refusal to do `action` with `path`: [`FailureCode::DiskFull`] where the disk
    /// or a quota is exhausted, `otherwise` in any other case. Only the last part of `path` is told.
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

    /// A fault of the program itself while doing `action`.
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
