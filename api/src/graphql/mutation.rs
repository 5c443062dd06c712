//! What is around every mutation: one call from the input to the payload (GQ-1, GQ-2).
//!
//! One rule: a resolver states which ids its input names and which command it means. That a request happens once, which
//! version was expected, how refusals are told, and what the caller may read of the result is decided here, for all.

mod input;
mod payload;

use async_graphql::{Context, Error, ID, InputObjectType, PathSegment, Result};
use domain::{
    authz::Concealment,
    event_store::{Position, StoreError},
    execute::{Command, Conditions, ExecuteError, Executed},
    request::{FirstResult, RecallError},
};
use uuid::Uuid;

pub use input::CommonInput;
pub(crate) use payload::payload;
pub use payload::{Entity, NoEntity, Payload};

use super::{
    context::{app, caller, user, wait_for_position},
    errors::{denied, error_with_code, store_failed},
    user_error::{UserError, UserErrorCode, UserErrors},
};
use crate::app::{App, Caller, ClientRequest};

/// The path of the version that an input expects.
const EXPECTED_VERSION: &str = "expectedVersion";
/// The path of the request's id in an input.
const CLIENT_REQUEST_ID: &str = "clientRequestId";

/// A call of a mutation.
pub struct MutationCall<'c, 'a> {
    context: &'c Context<'a>,
    app: &'c App,
    caller: &'c Caller,
    request: Option<ClientRequest>,
    expected: Option<u64>,
    /// The ids that the input names, by their paths.
    named: Vec<(&'static str, String)>,
    wrong: Vec<UserError>,
    handed_out: u32,
}

/// How a call ended, as far as the caller may know.
pub enum Ended<R> {
    /// Recorded, or already so.
    Done {
        /// The position to wait for.
        position: Position,
        /// What it is about.
        entity: Uuid,
    },
    /// Refused by a rule.
    Refused(R),
    /// The input is wrong; nothing was decided.
    Wrong(Vec<UserError>),
    /// What it is about does not have the expected version.
    Stale(Uuid),
}

impl<R> Ended<R> {
    /// The same with another refusal.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Ended<S> {
        match self {
            Self::Done { position, entity } => Ended::Done { position, entity },
            Self::Refused(reason) => Ended::Refused(change(reason)),
            Self::Wrong(errors) => Ended::Wrong(errors),
            Self::Stale(entity) => Ended::Stale(entity),
        }
    }
}

impl<'c, 'a> MutationCall<'c, 'a> {
    /// A call by a user.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when nobody is signed in.
    pub fn signed_in<I: InputObjectType>(context: &'c Context<'a>, input: &I) -> Result<Self> {
        user(context)?;
        Self::open(context, input)
    }

    /// A call by anybody.
    ///
    /// # Errors
    /// When the endpoint is defective.
    pub fn open<I: InputObjectType>(context: &'c Context<'a>, input: &I) -> Result<Self> {
        let (mut call, asked) = (Self::plain(context)?, CommonInput::of(context, input));
        call.expected = asked.expected_version;
        call.request = asked.client_request_id.map(|id| {
            let operation = context.field().name();
            ClientRequest::new(call.app, call.caller, operation, id, &asked.input)
        });
        Ok(call)
    }

    /// A call whose input names no request and no version.
    ///
    /// # Errors
    /// When the endpoint is defective.
    pub fn plain(context: &'c Context<'a>) -> Result<Self> {
        Ok(Self {
            context,
            app: app(context)?,
            caller: caller(context)?,
            request: None,
            expected: None,
            named: Vec::new(),
            wrong: Vec::new(),
            handed_out: 0,
        })
    }

    /// The context of the request.
    #[must_use]
    pub fn context(&self) -> &'c Context<'a> {
        self.context
    }

    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &'c Caller {
        self.caller
    }

    /// The application.
    #[must_use]
    pub fn app(&self) -> &'c App {
        self.app
    }

    /// A fresh id. A request that is repeated at the same moment gets the same.
    pub fn fresh<T: From<Uuid>>(&mut self) -> T {
        self.handed_out += 1;
        let id = self
            .request
            .as_ref()
            .map(|request| request.id(self.app, self.handed_out));
        T::from(id.unwrap_or_else(|| self.app.ports.ids.next()))
    }

    /// The id at `path` of the input. One that is none names nothing: it is told like one that does not exist.
    pub fn id<T: std::str::FromStr + From<Uuid>>(&mut self, path: &'static str, id: &ID) -> T {
        self.id_or(path, id, T::from(Uuid::nil()))
    }

    /// As [`MutationCall::id`], where ids of several kinds may stand; `none` stands for one that is none of them.
    pub fn id_or<T: std::str::FromStr>(&mut self, path: &'static str, id: &ID, none: T) -> T {
        self.named.push((path, id.to_string()));
        id.parse().unwrap_or_else(|_| {
            self.wrong.push(UserError::absent(path));
            none
        })
    }

    /// Adds errors of the input; a call with any records nothing.
    pub fn refuse(&mut self, errors: impl IntoIterator<Item = UserError>) {
        self.wrong.extend(errors);
    }

    /// Whether the input is known to be wrong.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// The payload of an input that is known to be wrong.
    #[must_use]
    pub fn rejected<P: Payload>(&self) -> P {
        P::of(None, None, self.wrong.clone())
    }

    /// Runs `command` about the entity `id`, and answers.
    ///
    /// # Errors
    /// Denials other than "not found", and failures of the system.
    pub async fn finish<P, C>(&self, id: <P::Entity as Entity>::Id, command: &C) -> Result<Option<P>>
    where
        P: Payload,
        C: Command,
        C::Refusal: UserErrors,
    {
        let ended = self.execute::<P::Entity, C>(id, command).await?;
        self.answer(ended).await
    }

    /// Runs `command` about the entity `id`.
    ///
    /// # Errors
    /// As [`MutationCall::finish`].
    pub async fn execute<E: Entity, C: Command>(&self, id: E::Id, command: &C) -> Result<Ended<C::Refusal>> {
        if self.is_wrong() {
            return Ok(Ended::Wrong(self.wrong.clone()));
        }
        let entity: Uuid = id.into();
        let conditions = Conditions {
            request: self.request.as_ref().map(|request| request.about(entity)),
            expected: self.expected.map(|version| E::expectation(id, version)),
        };
        match Box::pin(self.app.execute_under(self.caller, command, &conditions)).await {
            Ok(Executed::Now(position)) => Ok(Ended::Done { position, entity }),
            Ok(Executed::Before(first)) => Ok(before(first)),
            Err(ExecuteError::Refused(reason)) => Ok(Ended::Refused(reason)),
            Err(ExecuteError::VersionConflict) => Ok(Ended::Stale(entity)),
            Err(ExecuteError::RequestMismatch) => Ok(Ended::Wrong(vec![mismatch()])),
            Err(ExecuteError::Denied(refusal)) if refusal.concealment == Concealment::NotFound => self
                .absent(&refusal.resource)
                .map(|error| Ended::Wrong(vec![error])),
            Err(ExecuteError::Denied(refusal)) => Err(denied(&refusal)),
            Err(ExecuteError::Busy) => Err(error_with_code(
                "UNAVAILABLE",
                "too many concurrent changes to the same resource, try again",
            )),
            Err(ExecuteError::Store(error)) => Err(self.failed(&error)),
            Err(error @ (ExecuteError::Undecodable(_) | ExecuteError::Defect(_))) => {
                Err(Error::new(error.to_string()))
            }
        }
    }

    /// The payload of a call that ended: what was changed, as far as the caller may read it, or what is wrong. An entity that
    /// cannot be shown now fails alone, beside the position.
    ///
    /// # Errors
    /// Defects of the endpoint.
    pub async fn answer<P: Payload, R: UserErrors>(&self, ended: Ended<R>) -> Result<Option<P>> {
        let wrong = |errors| Ok(Some(P::of(None, None, errors)));
        let (entity, position, errors) = match ended {
            Ended::Refused(reason) => return wrong(reason.user_errors()),
            Ended::Wrong(errors) => return wrong(errors),
            Ended::Done { position, entity } => (entity, Some(position), Vec::new()),
            Ended::Stale(entity) => (entity, None, vec![stale()]),
        };
        let entity = self.or_null(P::SHOWN, self.shown::<P>(entity, position).await);
        Ok(Some(P::of(entity, position, errors)))
    }

    /// The entity as of `position`, or of now.
    async fn shown<P: Payload>(&self, entity: Uuid, position: Option<Position>) -> Result<Option<P::Entity>> {
        match position {
            Some(position) => {
                let readable = wait_for_position(self.context, position).await;
                readable.map_err(|_| not_readable(position))?;
            }
            None => {
                let head = self.app.ports.store.head().await;
                wait_for_position(self.context, head.map_err(|error| store_failed(&error))?).await?;
            }
        }
        P::Entity::load(self.context, entity.into()).await
    }

    /// The value of a field of the payload, which fails alone: the rest is answered, for what is recorded is. Why it fails
    /// is told where it is asked for.
    pub fn or_null<T>(&self, field: &'static str, value: Result<Option<T>>) -> Option<T> {
        let error = match value {
            Ok(value) => return value,
            Err(error) => error.into_server_error(self.context.item.pos),
        };
        let payload = self.context.field();
        if let Some(asked) = payload.selection_set().find(|asked| asked.name() == field) {
            let mut error = self.context.set_error_path(error);
            let key = asked.alias().unwrap_or(field).to_owned();
            error.path.push(PathSegment::Field(key));
            self.context.add_error(error);
        }
        None
    }

    /// The answer to a request that was carried out before, so that what is costly is not done again. The caller's
    /// rights are checked by whoever asks.
    ///
    /// # Errors
    /// Failures of the system.
    pub async fn repeated<P: Payload>(&self) -> Result<Option<P>> {
        let Some(request) = &self.request else {
            return Ok(None);
        };
        let request = request.about(Uuid::nil());
        let ended = match request.recall(self.app.ports.store.as_ref()).await {
            Ok(None) => return Ok(None),
            Ok(Some(first)) => before(first),
            Err(RecallError::Mismatch) => Ended::Wrong(vec![mismatch()]),
            Err(RecallError::Store(error)) => return Err(self.failed(&error)),
            Err(RecallError::Undecodable(error)) => return Err(Error::new(error.to_string())),
        };
        self.answer::<P, std::convert::Infallible>(ended).await
    }

    /// The error of an object that does not exist for the caller: of the id in the input that names it, or, where what is
    /// absent is what one of them leads to, of them all.
    fn absent(&self, resource: &str) -> Result<UserError> {
        if let Some((path, _)) = self.named.iter().find(|(_, id)| id == resource) {
            return Ok(UserError::absent(path));
        }
        match self.named.as_slice() {
            [] => Err(error_with_code("NOT_FOUND", "not found")),
            [(path, _)] => Ok(UserError::absent(path)),
            several => {
                let several: Vec<&str> = several.iter().map(|(path, _)| *path).collect();
                let message = format!("not all of these exist: {}", several.join(", "));
                Ok(UserError::whole(message, UserErrorCode::NotFound))
            }
        }
    }

    /// A store that failed. Where it is unknown whether anything was recorded, what to do about it is said.
    fn failed(&self, error: &StoreError) -> Error {
        match (error, &self.request) {
            (StoreError::Unavailable(_), Some(_)) => {
                let message = "the event store does not answer; repeat the mutation with the same clientRequestId, \
                               and it happens once";
                tracing::error!(%error, "the outcome of a mutation is unknown");
                error_with_code("UNAVAILABLE", message)
            }
            _ => store_failed(error),
        }
    }
}

fn before<R>(FirstResult { position, entity }: FirstResult) -> Ended<R> {
    Ended::Done { position, entity }
}

/// What is recorded stays so, also when the read models are late.
fn not_readable(position: Position) -> Error {
    let message = format!(
        "the change is recorded at position {position} and cannot be read yet; read it later, with minPosition"
    );
    error_with_code("UNAVAILABLE", message)
}

fn mismatch() -> UserError {
    let message = "this clientRequestId was used before with another input; use a new one for each change";
    UserError::at(CLIENT_REQUEST_ID, message, UserErrorCode::IdempotencyMismatch)
}

fn stale() -> UserError {
    let message = "it does not have the version that you expect; look at it as it is now, and decide again";
    UserError::at(EXPECTED_VERSION, message, UserErrorCode::Conflict)
}
