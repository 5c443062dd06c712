//! The roles that a user holds, as clients see them.

use async_graphql::{Context, Object, Result};
use domain::id::UserId;
use projections::access::assignment::AssignmentRow;

use crate::graphql::{
    as_of::{LogInstant, ResolvedAsOf},
    errors::read_failed,
    loaders::{RolesLoader, load},
    scalars::DateTime,
};

/// A role that a user holds.
pub struct RoleAssignment(pub AssignmentRow, pub ResolvedAsOf);

/// A role granted to a user.
#[Object]
impl RoleAssignment {
    /// Name of the role.
    async fn role(&self) -> &str {
        &self.0.role
    }
    /// When it was granted.
    async fn granted_at(&self) -> DateTime {
        self.0.granted_at.into()
    }
    /// The actor who granted it, as in the audit log.
    async fn granted_by(&self) -> &str {
        &self.0.granted_by
    }
    /// Reason.
    async fn reason(&self) -> &str {
        &self.0.reason
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// The roles that a user holds.
///
/// # Errors
/// When the database fails.
pub async fn roles_of(
    context: &Context<'_>,
    user: UserId,
    resolved: ResolvedAsOf,
) -> Result<Vec<RoleAssignment>> {
    let rows = load::<RolesLoader, _>(context, (user, resolved.as_of)).await?;
    let rows = rows.map_err(|error| read_failed(&error))?;
    let rows = rows.unwrap_or_default().into_iter();
    Ok(rows.map(|row| RoleAssignment(row, resolved)).collect())
}
