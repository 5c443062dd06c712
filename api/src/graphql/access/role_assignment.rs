//! The roles that a user holds.
//!
//! One rule: accounts show them too, so this file imports nothing of accounts.

use async_graphql::{Context, Object, Result, dataloader::DataLoader};
use domain::id::UserId;
use projections::access::assignment::AssignmentRow;
use time::OffsetDateTime;

use crate::graphql::{
    as_of::{Moment, View},
    loaders::RolesLoader,
};

/// A role that a user holds.
pub struct RoleAssignment(pub AssignmentRow, pub View);

/// A role held by a user: since when, by whom, why.
#[Object]
impl RoleAssignment {
    /// Name of the role.
    async fn role(&self) -> &str {
        &self.0.role
    }
    /// When it was granted.
    async fn granted_at(&self) -> OffsetDateTime {
        self.0.granted_at
    }
    /// Who granted it, as recorded in the audit log.
    async fn granted_by(&self) -> &str {
        &self.0.granted_by
    }
    /// Why.
    async fn reason(&self) -> &str {
        &self.0.reason
    }
    /// The moment of the past that this shows; null for the present.
    async fn as_of(&self) -> Option<Moment> {
        self.1.shown
    }
}

/// The roles that a user holds.
///
/// # Errors
/// When the database fails.
pub async fn roles_of(context: &Context<'_>, user: UserId, view: View) -> Result<Vec<RoleAssignment>> {
    let loader = context.data::<DataLoader<RolesLoader>>()?;
    let rows = loader.load_one((user, view.moment)).await?;
    let rows = rows.unwrap_or_default().into_iter();
    Ok(rows.map(|row| RoleAssignment(row, view)).collect())
}
