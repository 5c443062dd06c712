//! What a command is, and how it may fail.
//!
//! One rule: a command names what it reads and what it requires before it decides, and decides on nothing else.

use time::OffsetDateTime;

use crate::{
    aggregate::{DecodeError, LoadError},
    authz::{Denied, Principal, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    event_store::StoreError,
    request::RecallError,
};

/// What a decision may use besides the loaded state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Time of the decision.
    pub now: OffsetDateTime,
    /// The actor.
    pub principal: &'a Principal,
}

/// A refusal, with events to record nevertheless (a failed login is recorded).
#[derive(Debug)]
pub struct Refused<R> {
    /// The reason.
    pub reason: R,
    /// The events to record.
    pub record: NewEvents,
}

impl<R> From<R> for Refused<R> {
    fn from(reason: R) -> Self {
        Self {
            reason,
            record: NewEvents::none(),
        }
    }
}

/// The result of a decision.
pub type Decision<R> = Result<NewEvents, Refused<R>>;

/// A command, named in the imperative. It may be refused.
pub trait Command: Send + Sync {
    /// Business reasons for refusing the command.
    type Refusal: std::error::Error + Send + Sync;

    /// Declares the streams that the decision reads. Called again with the loaded state until it declares nothing
    /// new, so that one stream may lead to another.
    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet);

    /// What the principal must be permitted to do, and to what.
    fn requires(&self, loaded: &LoadedState) -> Requirement;

    /// The business rule. Pure.
    ///
    /// # Errors
    /// The refusal, with the events to record about it.
    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<Self::Refusal>;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The principal may not. Recorded when it is a user.
    #[error(transparent)]
    Denied(Denied),
    /// The business rule refused it.
    #[error("{0}")]
    Refused(R),
    /// The thing does not have the version that was expected.
    #[error("it does not have the version that you expect")]
    VersionConflict,
    /// The request id was used before, with another input.
    #[error("this request id was used before with another input")]
    RequestMismatch,
    /// Concurrent writers keep changing the same streams, or the store is overloaded. Try again.
    #[error("too many concurrent changes to the same resource, try again")]
    Busy,
    /// The log contains an event that this build cannot decode.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The command reads a stream that it does not declare: a defect of the command.
    #[error("defective command: {0}")]
    Defect(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<R> From<LoadError> for ExecuteError<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => Self::Store(error),
            LoadError::Decode(error) => Self::Undecodable(error),
        }
    }
}

impl<R> From<RecallError> for ExecuteError<R> {
    fn from(error: RecallError) -> Self {
        match error {
            RecallError::Mismatch => Self::RequestMismatch,
            RecallError::Store(error) => Self::Store(error),
            RecallError::Undecodable(error) => Self::Undecodable(error),
        }
    }
}
