//! Errors of chat templates.

use crate::failure::{Failure, FailureCode};

/// Why rendering failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// The template rejects this conversation; with its message.
    Conversation(String),
    /// The template is invalid: it does not terminate, writes without end, or raises an error.
    Template(Failure),
}

/// The failure of the chat template `name`, for `reason`.
#[must_use]
pub fn template_error(name: &str, reason: &str) -> Failure {
    Failure::new(
        FailureCode::ChatTemplateInvalid,
        format!(
            "the chat template {name} cannot be used: {reason}; correct it, or set objective.chat_template to plain"
        ),
    )
}
