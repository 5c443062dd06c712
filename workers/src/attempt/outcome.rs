//! How an attempt ends.
//!
//! One rule: what another attempt would meet again is a failure; what may pass is an interruption.

use std::io;

use objects::ObjectsError;

/// The end of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// The result is stored and recorded.
    Completed,
    /// It cannot be done. To be recorded.
    Failed {
        /// A stable code.
        code: String,
        /// The error, with its remedy.
        message: String,
    },
    /// Another attempt may succeed. To be recorded.
    Interrupted {
        /// The reason.
        cause: String,
        /// Whether it counts against the attempts.
        counts: bool,
    },
    /// The attempt no longer belongs to this worker: cancelled, or given to another. Nothing to record.
    TakenAway,
}

impl AttemptOutcome {
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed {
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// An interruption that counts.
    pub(crate) fn lost(cause: impl Into<String>) -> Self {
        Self::Interrupted {
            cause: cause.into(),
            counts: true,
        }
    }

    /// The worker shuts down; no fault of the job.
    pub(crate) fn drained() -> Self {
        Self::Interrupted {
            cause: "the worker is shutting down".to_owned(),
            counts: false,
        }
    }

    /// The operating system's refusal to do `action`.
    pub(crate) fn io(action: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::failed(
                "DISK_FULL",
                format!(
                    "cannot {action}: the disk of the worker is full; free space there and start the job again"
                ),
            ),
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => {
                Self::lost(format!("cannot {action}: {error}"))
            }
            _ => Self::failed(
                "WORK_FOLDER_UNUSABLE",
                format!("cannot {action}: {error}; check the folder of jobs on the worker and its rights"),
            ),
        }
    }

    /// The object store's refusal to do `action`.
    pub(crate) fn objects(action: &str, error: &ObjectsError) -> Self {
        match error {
            ObjectsError::StorageFull => Self::failed(
                "DISK_FULL",
                format!(
                    "cannot {action}: the object store is full; free space there and start the job again"
                ),
            ),
            ObjectsError::NotFound { .. } => Self::failed(
                "INPUT_MISSING",
                format!(
                    "cannot {action}: it is not in the object store; restore it, or start the job with another"
                ),
            ),
            ObjectsError::File { source, .. } => Self::io(action, source),
            other => Self::lost(format!("cannot {action}: {other}")),
        }
    }

    /// For metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
            Self::Interrupted { .. } => "interrupted",
            Self::TakenAway => "taken_away",
        }
    }
}

/// A background thread that panicked or was stopped.
impl From<tokio::task::JoinError> for AttemptOutcome {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::lost(format!("the worker failed: {error}"))
    }
}
