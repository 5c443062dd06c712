//! What is wrong with an input, as data: the answer of a payload when nothing was recorded.
//!
//! One rule: this module knows no context, so every context can use it.

use async_graphql::{Enum, SimpleObject};

/// What is wrong, for programs. New codes may be added; treat an unknown one as `INVALID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum UserErrorCode {
    /// A field has the wrong form or is out of range.
    Invalid,
    /// The object does not exist, or the caller may not know that it does.
    NotFound,
    /// A quota of the caller or of the owner is used up.
    QuotaExceeded,
    /// The password is too short, too long, too common, or contains the username.
    WeakPassword,
    /// The username belongs to another account.
    UsernameTaken,
    /// The e-mail address belongs to another account.
    EmailTaken,
    /// Self-registration is switched off.
    RegistrationClosed,
    /// The first administrator has not been created yet.
    SetupRequired,
    /// The first administrator exists already.
    AlreadySetUp,
    /// The token is invalid or has been used.
    InvalidToken,
    /// The token has expired.
    TokenExpired,
    /// The name or password is wrong, or there were too many attempts.
    LoginFailed,
    /// Callers cannot do this to their own account.
    OwnAccount,
    /// At least one active administrator must remain.
    LastAdministrator,
    /// The account belongs to a person who was erased.
    Erased,
    /// The role does not exist.
    UnknownRole,
    /// The user does not exist.
    UnknownUser,
    /// The role holds permissions that the caller may not grant.
    BeyondOwnGrants,
    /// Callers cannot change their own roles.
    OwnRoles,
    /// The files are not a model that can be trained.
    NotAModel,
    /// The base model does not fit the training method.
    BaseModel,
    /// The job has already ended.
    AlreadyEnded,
    /// The job has not ended yet.
    NotEnded,
    /// The job is completed and has produced a model.
    Completed,
    /// The job has no checkpoint.
    NoCheckpoint,
}

/// One error of an input.
#[derive(Clone, Debug, SimpleObject)]
pub struct UserError {
    /// Path of the input field; empty when the error is about the input as a whole.
    pub path: Vec<String>,
    /// What is wrong and what would be right, for people.
    pub message: String,
    /// What is wrong, for programs.
    pub code: UserErrorCode,
}

impl UserError {
    /// An error of one field, named by its path with dots between the parts.
    pub fn at(path: &str, message: impl Into<String>, code: UserErrorCode) -> Self {
        Self {
            path: path.split('.').map(str::to_owned).collect(),
            message: message.into(),
            code,
        }
    }

    /// An error of the input as a whole.
    pub fn whole(message: impl Into<String>, code: UserErrorCode) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
            code,
        }
    }
}
