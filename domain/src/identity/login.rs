//! Attempts to log in, one stream per named account, whether or not it exists: a failed attempt is a fact.

use time::OffsetDateTime;

use super::reservation::ReservationKey;
use crate::{
    aggregate::{Aggregate, event},
    authz::Requirement,
    bounded::Count,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision, Refused},
    id::UserId,
};

/// The attempts on one name. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct LoginAttempts;

/// Facts about attempts.
#[event(context = "identity", subject = user)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginEvent {
    /// It failed.
    #[event(name = "LoginFailed", failure)]
    Failed {
        /// The account, when the name is one.
        user: Option<UserId>,
        /// `wrong_credentials`, `locked` or `deactivated`.
        #[plain]
        cause: String,
    },
    /// Too many wrong guesses: further ones from that address are refused for a while (SE-5).
    #[event(name = "LoginLocked", failure)]
    Locked {
        /// The account, when the name is one.
        user: Option<UserId>,
        /// When the lock ends.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// Further attempts while a lock lasted were only counted.
    #[event(name = "LoginsLeftOut", subject = nobody, failure)]
    LeftOut(Count),
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
    /// When the lock ends that this attempt has brought about.
    pub locked_until: Option<OffsetDateTime>,
    /// Attempts of that address that were only counted before.
    pub left_out: Option<Count>,
}

/// The stream of what is counted per address, and belongs to no name.
pub const LEFT_OUT: &str = "left_out";

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
        let mut record = NewEvents::record::<LoginAttempts>(&self.name, &event);
        if let Some(until) = self.locked_until {
            let user = self.user;
            record = record.and::<LoginAttempts>(&self.name, &LoginEvent::Locked { user, until });
        }
        if let Some(count) = self.left_out {
            record = record.and::<LoginAttempts>(LEFT_OUT, &LoginEvent::LeftOut(count));
        }
        let reason = LoginRefused;
        Err(Refused { reason, record })
    }
}
