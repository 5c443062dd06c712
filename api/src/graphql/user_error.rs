//! What is wrong with an input, as data: the answer of a payload when nothing was recorded.
//!
//! One rule: this module knows no context, so every context can use it.

use async_graphql::{Enum, SimpleObject};
use domain::{problems::Problems, text::TextProblem};

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
    /// The object does not have the version that was expected; the payload shows it as it is.
    Conflict,
    /// The same `clientRequestId` was used before with another input.
    IdempotencyMismatch,
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

impl UserError {
    /// The error of an id at `path` that names nothing for the caller: malformed, absent or somebody else's alike.
    #[must_use]
    pub fn absent(path: &str) -> Self {
        let name = path.rsplit('.').next().unwrap_or(path);
        let mut words = String::new();
        for letter in name.strip_suffix("Id").unwrap_or(name).chars() {
            if letter.is_uppercase() {
                words.push(' ');
            }
            words.extend(letter.to_lowercase());
        }
        Self::at(path, format!("there is no such {words}"), UserErrorCode::NotFound)
    }
}

/// A refusal as errors of the input: every problem at its path.
pub trait UserErrors {
    /// The errors.
    fn user_errors(self) -> Vec<UserError>;
}

impl UserErrors for std::convert::Infallible {
    fn user_errors(self) -> Vec<UserError> {
        match self {}
    }
}

/// A problem of one field of an input, or of the input as a whole.
pub trait Problem: std::fmt::Display {
    /// The path of the field, empty for the whole, and what is wrong, for programs.
    fn place(&self) -> (&'static str, UserErrorCode);
}

impl<P: Problem> UserErrors for P {
    fn user_errors(self) -> Vec<UserError> {
        let ((path, code), message) = (self.place(), self.to_string());
        vec![match path {
            "" => UserError::whole(message, code),
            path => UserError::at(path, message, code),
        }]
    }
}

impl<P: Problem> UserErrors for Problems<P> {
    fn user_errors(self) -> Vec<UserError> {
        self.0.into_iter().flat_map(UserErrors::user_errors).collect()
    }
}

impl Problem for TextProblem {
    fn place(&self) -> (&'static str, UserErrorCode) {
        (self.field, UserErrorCode::Invalid)
    }
}

/// A refusal of an input that is the field `.0` of another; errors of the whole stay so.
pub struct Within<R>(pub &'static str, pub R);

impl<R: UserErrors> UserErrors for Within<R> {
    fn user_errors(self) -> Vec<UserError> {
        let Self(field, refusal) = self;
        within(field, refusal.user_errors())
    }
}

/// The errors of an input that is the field `field` of another; those of the whole stay so.
#[must_use]
pub fn within(field: &str, mut user_errors: Vec<UserError>) -> Vec<UserError> {
    let of_fields = user_errors.iter_mut().filter(|error| !error.path.is_empty());
    of_fields.for_each(|error| error.path.insert(0, field.to_owned()));
    user_errors
}
