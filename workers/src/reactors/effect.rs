//! What a reactor wants done: a command, a mail, or a call of a part of the system.
//!
//! One rule: an effect's id is made of the event that it answers, so that whoever does it twice does the same thing twice,
//! and can tell.

use std::sync::Arc;

use domain::{
    authz::{AccountState, Principal, UserPrincipal},
    event_store::{BoxFuture, Metadata, RecordedEvent},
    execute::{Command, Conditions, ExecuteError, Ports, execute_under},
    id::UserId,
    notifications::mail::Mail,
    quota::Quotas,
    request::Request,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Something to be done about an event.
#[derive(Clone)]
pub struct Effect {
    /// Its id; see [`effect_id`].
    pub id: Uuid,
    /// Whom it is for.
    pub recipient: Option<UserId>,
    /// What is to be done.
    pub act: Act,
    /// Whether it is given up after so many tries. What must be done in the end is not.
    pub gives_up: bool,
    /// From when on it may be done; `None`: at once. Until then it waits, and is worked out anew when its time has come.
    pub not_before: Option<OffsetDateTime>,
}

/// What is to be done.
#[derive(Clone)]
pub enum Act {
    /// A command.
    Command(CommandEffect),
    /// A mail.
    Mail(Mail),
    /// A call of a part of the system that is no command. Whoever carries it out says when it is done.
    Call(Call),
}

/// A call of a part of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Destroys the key of a person who is erased, has read models rebuilt, and records the receipt (AU-7).
    CompleteErasure(UserId),
}

impl Act {
    /// Its kind, as lists and metrics name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Mail(_) => "mail",
            Self::Call(Call::CompleteErasure(_)) => "erasure",
        }
    }
}

/// The id of the effect `what` that `reactor` has of an event: a `UUIDv5` (RFC 9562) in the event's own name space.
#[must_use]
pub fn effect_id(event: &RecordedEvent, reactor: &str, what: &str) -> Uuid {
    Uuid::new_v5(&event.id, format!("{reactor}/{what}").as_bytes())
}

/// Why a command effect was not done. The reason is one of the program's own sentences: what a refusal says may quote what
/// people wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EffectError {
    /// Why.
    pub reason: &'static str,
    /// Whether trying again is of no use.
    pub permanent: bool,
}

impl EffectError {
    /// What may work later.
    #[must_use]
    pub const fn passing(reason: &'static str) -> Self {
        let permanent = false;
        Self { reason, permanent }
    }

    /// What will not work later either.
    #[must_use]
    pub const fn permanent(reason: &'static str) -> Self {
        let permanent = true;
        Self { reason, permanent }
    }
}

/// A command, with whom it is done for. It is decided anew, on that person's rights of that moment; and it is carried out
/// once, whatever is lost, because the effect is its request.
#[derive(Clone)]
pub struct CommandEffect {
    command: Arc<dyn AnyCommand>,
    on_behalf_of: Option<UserId>,
}

impl CommandEffect {
    /// A command that the system does on its own.
    pub fn by_system<C: Command + 'static>(command: C) -> Self {
        let (command, on_behalf_of) = (Arc::new(command), None);
        Self {
            command,
            on_behalf_of,
        }
    }

    /// A command that is done for `user`, with what `user` may do when it is decided.
    pub fn on_behalf_of<C: Command + 'static>(user: UserId, command: C) -> Self {
        let (command, on_behalf_of) = (Arc::new(command), Some(user));
        Self {
            command,
            on_behalf_of,
        }
    }

    /// Carries it out for `reactor`, as the effect `id` of `event`.
    ///
    /// # Errors
    /// A refusal or a denial, which is permanent; whatever may pass.
    pub async fn carry_out(
        &self,
        ports: &Ports,
        reactor: &'static str,
        id: Uuid,
        event: &RecordedEvent,
    ) -> Result<(), EffectError> {
        let system = Principal::System(reactor);
        let meta = Metadata {
            actor: system.actor(),
            on_behalf_of: self.on_behalf_of.map(|user| format!("user:{user}")),
            correlation_id: event.meta.correlation_id,
            causation_id: Some(event.id),
            ..Metadata::default()
        };
        let principal = self.on_behalf_of.map_or(system, person);
        let request = Request {
            key: id.simple().to_string(),
            fingerprint: reactor.to_owned(),
            entity: id,
        };
        let conditions = Conditions {
            request: Some(request),
            expected: None,
        };
        self.command.execute(ports, &principal, &meta, &conditions).await
    }
}

/// The person, without any rights: they are read from the log when the command is decided.
fn person(user: UserId) -> Principal {
    Principal::User(Box::new(UserPrincipal {
        user,
        session: None,
        organization: None,
        account: AccountState::Unverified,
        roles: Arc::default(),
        permissions: Arc::default(),
        may_grant: Arc::default(),
        quotas: Quotas::NOTHING,
    }))
}

/// A command of any type.
trait AnyCommand: Send + Sync {
    fn execute<'a>(
        &'a self,
        ports: &'a Ports,
        principal: &'a Principal,
        meta: &'a Metadata,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<(), EffectError>>;
}

impl<C: Command> AnyCommand for C {
    fn execute<'a>(
        &'a self,
        ports: &'a Ports,
        principal: &'a Principal,
        meta: &'a Metadata,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<(), EffectError>> {
        Box::pin(async move {
            let done = execute_under(ports, principal, meta, self, conditions).await;
            done.map(drop).map_err(|error| failure(&error))
        })
    }
}

/// What of an error may be kept.
fn failure<R>(error: &ExecuteError<R>) -> EffectError {
    match error {
        ExecuteError::Denied(_) => EffectError::permanent("the command was denied"),
        ExecuteError::Refused(_) => EffectError::permanent("the command was refused"),
        ExecuteError::VersionConflict | ExecuteError::RequestMismatch | ExecuteError::Defect(_) => {
            EffectError::permanent("the command is defective")
        }
        ExecuteError::Busy => EffectError::passing("others keep changing the same things"),
        ExecuteError::Undecodable(_) => {
            EffectError::passing("the log holds what this build cannot read: run a newer one")
        }
        ExecuteError::Store(_) => EffectError::passing("the event store failed"),
    }
}
