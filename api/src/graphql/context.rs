//! What resolvers share: who asks, and how commands are run.

use async_graphql::{Context, Error, Result};
use domain::{
    access::ledger::QuotaLedger,
    aggregate::load,
    authz::{Action, Concealment, Denied, Requirement, Resource, UserPrincipal, permit},
    event_store::Position,
    execute::{Command, ExecuteError},
    id::UserId,
};
use projections::paging::Viewer;

use super::{
    access_notes::AccessNotes,
    errors::{denied, error_with_code, store_failed},
    scalars::Long,
};
use crate::app::{App, Caller, TIMEOUT};

/// The application behind the request.
///
/// # Errors
/// When the schema was built without it, which is a defect.
pub fn app<'a>(context: &Context<'a>) -> Result<&'a App> {
    context.data::<App>()
}

/// Who asks.
///
/// # Errors
/// When the endpoint did not set it, which is a defect.
pub fn caller<'a>(context: &Context<'a>) -> Result<&'a Caller> {
    context.data::<Caller>()
}

/// The signed-in user.
///
/// # Errors
/// `UNAUTHENTICATED` when nobody is signed in.
pub fn user<'a>(context: &Context<'a>) -> Result<&'a UserPrincipal> {
    caller(context)?
        .user()
        .ok_or_else(|| error_with_code("UNAUTHENTICATED", "sign in first"))
}

/// Whose things the signed-in user may see. Accounts that are not verified see no list but their own
/// profile.
///
/// # Errors
/// `UNAUTHENTICATED` or `FORBIDDEN`.
pub fn viewer(context: &Context<'_>) -> Result<Viewer> {
    let user = user(context)?;
    let own = Resource::of("things of one's own", Some(user.user));
    permit(
        &caller(context)?.principal,
        &Requirement::one(Action::ProjectsRead, own),
    )
    .map_err(|refusal| noted(context, &refusal))?;
    let viewer = match user.permissions.contains(&Action::SystemAdmin) {
        true => Viewer::Everything,
        false => Viewer::User(user.user),
    };
    AccessNotes::viewed(context, viewer);
    Ok(viewer)
}

/// Requires a permission that is not about one resource.
///
/// # Errors
/// `UNAUTHENTICATED` or `FORBIDDEN`.
pub fn require(context: &Context<'_>, action: Action, kind: &str) -> Result<()> {
    let requirement = Requirement::one(action, Resource::kind(kind));
    permit(&caller(context)?.principal, &requirement).map_err(|refusal| noted(context, &refusal))?;
    AccessNotes::required(context, action, kind);
    Ok(())
}

/// A denial as an error, noted to be recorded.
fn noted(context: &Context<'_>, refusal: &Denied) -> Error {
    AccessNotes::denied(context, refusal);
    denied(refusal)
}

/// What `user` has taken of the quotas, as of now.
///
/// # Errors
/// `UNAVAILABLE` when the log cannot be read; why is said in the process's log.
pub async fn ledger(app: &App, user: UserId) -> Result<QuotaLedger> {
    match load(app.ports.store.as_ref(), user).await {
        Ok(loaded) => Ok(loaded.state),
        Err(error) => {
            tracing::error!(%user, %error, "the quota ledger could not be read");
            Err(error_with_code(
                "UNAVAILABLE",
                "the log cannot be read at present, try again",
            ))
        }
    }
}

/// How a command ended, as far as the caller may know.
pub enum Outcome<R> {
    /// Recorded, or already so.
    Done(Position),
    /// Refused by a rule.
    Refused(R),
    /// What it is about does not exist for the caller.
    NotFound,
}

/// Runs a command for the caller.
///
/// # Errors
/// Denials other than "not found", and failures of the system.
pub async fn run<C: Command>(context: &Context<'_>, command: &C) -> Result<Outcome<C::Refusal>> {
    match app(context)?.execute(caller(context)?, command).await {
        Ok(position) => Ok(Outcome::Done(position)),
        Err(ExecuteError::Refused(reason)) => Ok(Outcome::Refused(reason)),
        Err(ExecuteError::Denied(refusal)) if refusal.concealment == Concealment::NotFound => {
            Ok(Outcome::NotFound)
        }
        Err(ExecuteError::Denied(refusal)) => Err(denied(&refusal)),
        Err(ExecuteError::Busy) => Err(error_with_code(
            "UNAVAILABLE",
            "too many concurrent changes to the same resource, try again",
        )),
        Err(ExecuteError::Store(error)) => Err(store_failed(&error)),
        Err(error @ (ExecuteError::Undecodable(_) | ExecuteError::Defect(_))) => {
            Err(Error::new(error.to_string()))
        }
    }
}

/// Waits until the read models show everything up to `position`.
///
/// # Errors
/// `UNAVAILABLE` when they do not get there in time.
pub async fn wait_for_position(context: &Context<'_>, position: Position) -> Result<()> {
    app(context)?
        .progress
        .wait_for_position(position, TIMEOUT)
        .await
        .map_err(|error| error_with_code("UNAVAILABLE", error.to_string()))
}

/// Honours `minPosition` of a query: reads one's own writes.
///
/// # Errors
/// `BAD_USER_INPUT` for a position that lies in the future, `UNAVAILABLE` when it is not reached in time.
pub async fn honor_min_position(context: &Context<'_>, position: Option<Long>) -> Result<()> {
    let Some(position) = position else { return Ok(()) };
    let position = Position(position.0);
    if position > app(context)?.ports.store.known_head() {
        let head = app(context)?
            .ports
            .store
            .head()
            .await
            .map_err(|error| store_failed(&error))?;
        if position > head {
            return Err(error_with_code(
                "BAD_USER_INPUT",
                format!("minPosition {position} is beyond the log's head {head}"),
            ));
        }
    }
    wait_for_position(context, position).await
}
