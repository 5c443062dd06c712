//! How a caller comes to see a shared thing, for all kinds of them (PR-5).
//!
//! One rule: it tells the reason, and decides nothing.

use async_graphql::{Context, Enum, Result};
use domain::{authz::Visibility, id::UserId};

use crate::graphql::{
    context::{caller, viewer},
    errors::read_failed,
    loaders::{SharedLoader, load},
};

/// How the caller comes to see a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AccessType {
    /// It is the caller's own.
    Owner,
    /// It was shared with the caller, one of their projects or their organization.
    Shared,
    /// Everybody who is signed in sees it.
    Public,
    /// The caller is an administrator; the access is recorded.
    Administrator,
}

/// How the caller comes to see a thing.
///
/// # Errors
/// Missing sign-in, or a failing database.
pub(super) async fn of(
    context: &Context<'_>,
    id: uuid::Uuid,
    founder: UserId,
    visibility: Visibility,
) -> Result<AccessType> {
    let viewer = viewer(context)?;
    if caller(context)?.user().is_some_and(|user| user.user == founder) {
        return Ok(AccessType::Owner);
    }
    let shared = load::<SharedLoader, _>(context, (id, viewer)).await?;
    let shared = shared.map_err(|error| read_failed(&error))?;
    Ok(match (shared, visibility) {
        (Some(()), _) => AccessType::Shared,
        (None, Visibility::Public) => AccessType::Public,
        (None, Visibility::Private) => AccessType::Administrator,
    })
}
