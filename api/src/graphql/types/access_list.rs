//! Access lists as clients see them (PR-5).
//!
//! One rule: a list is shown to those who may change the thing; everybody else sees their own access only.

use async_graphql::{Context, Enum, ID, Object, Result};
use domain::{
    authz::{Action, Party, PartyRole},
    id::ModelId,
    models::model::Model as SharedModel,
};
use projections::sharing::party::{self, PartyRow};

use super::{User, references};
use crate::graphql::{
    as_of::ResolvedAsOf,
    context::{app, may},
    errors::read_failed,
    scalars::DateTime,
};

/// A part in a shared thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "PartyRole")]
pub enum AccessRole {
    /// Sees it and queries it.
    Viewer,
    /// Sees it and makes new things in it.
    Member,
    /// Sees it, changes it and takes it out.
    Editor,
    /// As its founder, but does not end it.
    Owner,
}

/// An entry of an access list.
pub struct AccessGrant(PartyRow);

/// Somebody's part in a shared thing.
#[Object]
impl AccessGrant {
    /// ID of the user, project or organization that has access.
    async fn party_id(&self) -> ID {
        self.0
            .party()
            .map(|party| party.to_string())
            .unwrap_or_default()
            .into()
    }
    /// The user; null for a project or organization, or if the caller may not read the account.
    async fn party(&self, context: &Context<'_>) -> Result<Option<User>> {
        match self.0.party() {
            Some(Party::User(id)) => references::user(context, id).await,
            Some(Party::Project(_) | Party::Organization(_)) | None => Ok(None),
        }
    }
    /// The role.
    async fn role(&self) -> AccessRole {
        self.0.role.into()
    }
    /// When it ends, to the second; null if it lasts until it is revoked.
    async fn until(&self) -> Option<DateTime> {
        self.0.until.map(Into::into)
    }
    /// ID of the user who gave it.
    async fn granted_by_id(&self) -> ID {
        self.0.by.to_string().into()
    }
    /// The user who gave it; null if the caller may not read the account.
    async fn granted_by(&self, context: &Context<'_>) -> Result<Option<User>> {
        references::user(context, self.0.by).await
    }
    /// When it was given.
    async fn granted_at(&self) -> DateTime {
        self.0.granted_at.into()
    }
}

/// Who had access to a model at a moment besides its owner; `None` for those who may not change the model now.
///
/// # Errors
/// Missing sign-in, or a failing store or database.
pub(super) async fn of_model(
    context: &Context<'_>,
    at: ResolvedAsOf,
    id: ModelId,
) -> Result<Option<Vec<AccessGrant>>> {
    if !may::<SharedModel>(context, Action::ModelsUpdate, id).await? {
        return Ok(None);
    }
    let app = app(context)?;
    let moment = at.time.unwrap_or_else(|| app.now());
    let rows = party::of_resource(&app.read_models, at.as_of, id.0, moment).await;
    let rows = rows.map_err(|error| read_failed(&error))?;
    Ok(Some(rows.into_iter().map(AccessGrant).collect()))
}
