//! Attempts to log in, one stream per named account, whether or not it exists: a failed attempt is a fact.

use serde::{Deserialize, Serialize};

use super::reservation::ReservationKey;
use crate::{
    aggregate::{Aggregate, Event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision, Refused},
    id::UserId,
    personal::{KindFields, Subject},
};

/// The attempts on one name. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct LoginAttempts;

/// Facts about attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum LoginEvent {
    /// It failed.
    #[serde(rename = "identity.LoginFailed")]
    Failed {
        /// The account, when the name is one.
        user: Option<UserId>,
        /// `wrong_credentials`, `locked` or `deactivated`.
        cause: String,
    },
}

impl Event for LoginEvent {
    const FIELDS: &'static [KindFields] =
        &[KindFields::of("identity.LoginFailed", Subject::Field("user")).plain(&["user", "cause"])];
}

impl Aggregate for LoginAttempts {
    const CATEGORY: &'static str = "identity.login";
    type Event = LoginEvent;
    fn evolve(&mut self, _: &LoginEvent) {}
}

/// The answer to every failed login: the same for each cause (SE-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong name or password, or too many attempts")]
pub struct LoginRefused;

/// Records a login that failed. Always refused, always recorded.
#[derive(Clone, Debug)]
pub struct RecordFailedLogin {
    /// Keyed hash of the name that was tried.
    pub name: ReservationKey,
    /// The account, when the name is one.
    pub user: Option<UserId>,
    /// See [`LoginEvent::Failed`].
    pub cause: &'static str,
}

impl Command for RecordFailedLogin {
    type Refusal = LoginRefused;

    fn reads(&self, _: &LoadedState, _: &mut ReadSet) {}

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("a failed login is recorded, whoever tried")
    }

    fn decide(&self, _: &LoadedState, _: &Context<'_>) -> Decision<LoginRefused> {
        let event = LoginEvent::Failed {
            user: self.user,
            cause: self.cause.to_owned(),
        };
        Err(Refused {
            reason: LoginRefused,
            record: NewEvents::record::<LoginAttempts>(&self.name, &event),
        })
    }
}
