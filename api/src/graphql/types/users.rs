//! Accounts and sessions as clients see them.

use async_graphql::{Context, ID, Object, Result};
use domain::identity::badge;

use super::{RoleAssignment, Session, User, roles_of};
use crate::graphql::{
    as_of::{AsOfInput, resolve_as_of},
    scalars::DateTime,
};

/// A user account.
#[Object]
impl User {
    /// Global ID.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Unique name, lower case.
    async fn username(&self) -> &str {
        &self.0.username
    }
    /// E-mail address.
    async fn email(&self) -> &str {
        &self.0.email
    }
    /// First name.
    async fn first_name(&self) -> Option<&str> {
        self.0.first_name.as_deref()
    }
    /// Last name.
    async fn last_name(&self) -> Option<&str> {
        self.0.last_name.as_deref()
    }
    /// Initials for a badge.
    async fn initials(&self) -> String {
        badge::initials(
            self.0.first_name.as_deref(),
            self.0.last_name.as_deref(),
            &self.0.email,
        )
    }
    /// Badge color, stable per user.
    async fn badge_color(&self) -> &str {
        badge::color(&self.0.email)
    }
    /// ID of the organization.
    async fn organization_id(&self) -> Option<ID> {
        self.0.organization_id.map(|id| id.to_string().into())
    }
    /// Department.
    async fn department(&self) -> Option<&str> {
        self.0.department.as_deref()
    }
    /// Whether the e-mail address is verified; until then the account can see only its own profile.
    async fn verified(&self) -> bool {
        self.0.verified
    }
    /// Whether the account is disabled.
    async fn deactivated(&self) -> bool {
        self.0.deactivated
    }
    /// Number of events recorded about the account and its roles: what updates take as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.version
    }
    /// When the account was registered.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
    /// Its roles.
    async fn roles(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
    ) -> Result<Option<Vec<RoleAssignment>>> {
        let resolved = resolve_as_of(context, as_of).await?;
        roles_of(context, self.0.id, resolved).await.map(Some)
    }
}

/// A login session.
#[Object]
impl Session {
    /// Global ID.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }
    /// Client name.
    async fn device(&self) -> Option<&str> {
        self.0.device.as_deref()
    }
    /// IP address of the login.
    async fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }
    /// Time of the login.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
    /// Time of the last refresh.
    async fn last_seen_at(&self) -> DateTime {
        self.0.last_seen_at.into()
    }
    /// When it expires.
    async fn expires_at(&self) -> DateTime {
        self.0.expires_at.into()
    }
    /// Whether it is the session of this request.
    async fn current(&self) -> bool {
        self.1
    }
}
