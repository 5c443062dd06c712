//! What resolvers share: who asks, what they may see, and how long they wait.

use std::sync::Arc;

use async_graphql::{Context, Error, Result};
use domain::{
    aggregate::LoadError,
    authz::{Action, Denied, Requirement, Resource, Shared, UserPrincipal, decide, permit},
    event_store::Position,
    shared,
};
use projections::read_model::Viewer;

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
    context.data::<Arc<Caller>>().map(AsRef::as_ref)
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
    let own = Resource::of("projects", "things of one's own", Some(user.user));
    check(context, &Requirement::one(Action::ProjectsRead, own))?;
    let viewer = Viewer::of(user, app(context)?.now());
    AccessNotes::viewed(context, &viewer);
    Ok(viewer)
}

/// Requires a permission that is not about one resource.
///
/// # Errors
/// `UNAUTHENTICATED` or `FORBIDDEN`.
pub fn require(context: &Context<'_>, action: Action, kind: &'static str) -> Result<()> {
    check(context, &Requirement::one(action, Resource::kind(kind)))?;
    AccessNotes::required(context, action, kind);
    Ok(())
}

fn check(context: &Context<'_>, requirement: &Requirement) -> Result<()> {
    let (caller, now) = (caller(context)?, app(context)?.now());
    let permitted = permit(&caller.principal, requirement, &caller.circumstances(now));
    permitted.map_err(|refusal| noted(context, &refusal))
}

/// A denial as an error, noted to be recorded.
fn noted(context: &Context<'_>, refusal: &Denied) -> Error {
    AccessNotes::denied(context, refusal);
    denied(refusal)
}

/// Whether the caller may do `action` with a shared thing, by the log as it is now.
///
/// # Errors
/// `UNAVAILABLE` when the log cannot be read; why is said in the process's log.
pub async fn may<T: Shared>(context: &Context<'_>, action: Action, id: T::Id) -> Result<bool> {
    let (app, caller) = (app(context)?, caller(context)?);
    let found = shared::load::<T>(app.ports.store.as_ref(), id).await;
    let (_, resource) = found.map_err(|error| log_failed(T::KIND, &error))?;
    let circumstances = caller.circumstances(app.now());
    Ok(decide(&caller.principal, action, &resource, &circumstances).is_ok())
}

/// The log could not be read about a thing of this kind.
pub(super) fn log_failed(kind: &str, error: &LoadError) -> Error {
    tracing::error!(kind, %error, "the log could not be read");
    error_with_code("UNAVAILABLE", "the log cannot be read at present, try again")
}

/// Whose things the caller may see; `None` when it may see none.
#[must_use]
pub fn readable(context: &Context<'_>) -> Option<Viewer> {
    viewer(context).ok()
}

/// Waits until the read models show everything up to `position`.
///
/// # Errors
/// `UNAVAILABLE` when they do not get there in time.
pub async fn wait_for_position(context: &Context<'_>, position: Position) -> Result<()> {
    let waiting = app(context)?.progress.wait_for_position(position, TIMEOUT);
    Box::pin(waiting)
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
