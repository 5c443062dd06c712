//! Messages about files of tensors.

use std::path::Path;

use crate::failure::{Failure, FailureCode};

/// Maximum number of problems in one message.
const MAX_PROBLEMS: usize = 20;

/// `problems` on one line, limited to the first [`MAX_PROBLEMS`].
pub(crate) fn join_problems(problems: &[String]) -> String {
    let told = problems
        .iter()
        .take(MAX_PROBLEMS)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    match problems.len().saturating_sub(MAX_PROBLEMS) {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

/// The failure of the file at `path`, for `reason`.
pub(super) fn invalid_file(path: &Path, code: FailureCode, reason: &str) -> Failure {
    let name = path.file_name().unwrap_or_default().display();
    Failure::new(code, format!("{name} is rejected: {reason}"))
}
