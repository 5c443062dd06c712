//! Roles: what there are, who holds them, granting and removing; and why a decision comes out as it does.

mod rights;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    access::assignment::{GrantRefusal, GrantRole, RemoveRole},
    authz::Action,
};
use projections::access::role::RoleRow;
use uuid::Uuid;

pub use rights::*;

use super::{
    as_of::{AsOfInput, LogInstant, ResolvedAsOf, resolve_as_of},
    context::{app, honor_min_position, require, user},
    errors::read_failed,
    mutation::{MutationCall, payload},
    scalars::Long,
    types::User,
    user_error::{UserError, UserErrorCode, UserErrors},
};

/// A role.
pub struct Role(pub RoleRow, pub ResolvedAsOf);

/// A named set of permissions and quotas.
#[Object]
impl Role {
    /// Unique name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// Description.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// Names of its permissions.
    async fn permissions(&self) -> Vec<&str> {
        self.0.permissions.iter().map(String::as_str).collect()
    }
    /// Names of the roles that its holders may grant if they have `roles.grant`.
    async fn may_grant(&self) -> Vec<&str> {
        self.0.may_grant.iter().map(String::as_str).collect()
    }
    /// Its limits.
    async fn quotas(&self) -> Quotas {
        self.0.quotas.into()
    }
    /// The past log position that this reflects; null for the present.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// Limits of a role; null is unlimited.
#[derive(SimpleObject)]
pub struct Quotas {
    /// Projects owned.
    pub projects: Option<u32>,
    /// Datasets owned.
    pub datasets: Option<u32>,
    /// Concurrent jobs.
    pub concurrent_jobs: Option<u32>,
    /// Stored gigabytes (10⁹ bytes).
    pub storage_gb: Option<u32>,
    /// GPU hours in a calendar month.
    pub gpu_hours: Option<u32>,
}

impl From<domain::access::quota::Quotas> for Quotas {
    fn from(quotas: domain::access::quota::Quotas) -> Self {
        Self {
            projects: quotas.projects,
            datasets: quotas.datasets,
            concurrent_jobs: quotas.concurrent_jobs,
            storage_gb: quotas.storage_gb,
            gpu_hours: quotas.gpu_hours,
        }
    }
}

/// A permission.
#[derive(SimpleObject)]
pub struct Permission {
    /// Its name, `resource.action`.
    pub name: &'static str,
    /// What it permits.
    pub description: &'static str,
}

/// User, role and reason.
#[derive(InputObject)]
pub struct RoleChangeInput {
    /// The user.
    pub user_id: ID,
    /// Name of the role.
    pub role: String,
    /// Reason; recorded in the log.
    pub reason: String,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version of the user that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

payload! {
    /// Payload of `grantRole` and `removeRole`.
    RoleChangePayload {
        /// The user with its roles; null on error, or if the caller may not read it.
        user: User
    }
}

impl UserErrors for GrantRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let (path, code) = match &self {
            Self::UnknownRole(_) => ("role", UserErrorCode::UnknownRole),
            Self::UnknownUser => return vec![UserError::absent("userId")],
            Self::BeyondOwnGrants(_) => ("role", UserErrorCode::BeyondOwnGrants),
            Self::OwnRoles => ("userId", UserErrorCode::OwnRoles),
            Self::LastAdministrator => ("role", UserErrorCode::LastAdministrator),
            Self::ReasonMissing | Self::Reason(_) => ("reason", UserErrorCode::Invalid),
        };
        vec![UserError::at(path, self.to_string(), code)]
    }
}

/// Queries about roles.
#[derive(Default)]
pub struct AccessQuery;

#[Object]
impl AccessQuery {
    /// All roles, by name. Requires `roles.read`.
    async fn roles(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Vec<Role>>> {
        require(context, Action::RolesRead, "roles")?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let rows = projections::access::role::all(&app(context)?.read_models, resolved.as_of)
            .await
            .map_err(|e| read_failed(&e))?;
        Ok(Some(rows.into_iter().map(|row| Role(row, resolved)).collect()))
    }

    /// All permissions.
    async fn permissions(&self, context: &Context<'_>) -> Result<Option<Vec<Permission>>> {
        user(context)?;
        let all = Action::ALL.iter();
        let permissions = all.map(|action| Permission {
            name: action.name(),
            description: action.description(),
        });
        Ok(Some(permissions.collect()))
    }

    /// The signed-in user's own permissions, by name.
    async fn my_permissions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
    ) -> Result<Option<Vec<&'static str>>> {
        let now = user(context)?;
        let permissions = match resolve_as_of(context, as_of).await?.as_of {
            projections::history::AsOf::Now => now.permissions.clone(),
            then => projections::access::rights::of_user(&app(context)?.read_models, then, now.user)
                .await
                .map_err(|error| read_failed(&error))?
                .map(|rights| rights.principal.permissions)
                .unwrap_or_default(),
        };
        Ok(Some(permissions.iter().map(|action| action.name()).collect()))
    }
}

/// Changes of who holds which role.
#[derive(Default)]
pub struct AccessMutation;

#[Object]
impl AccessMutation {
    /// Grants a role to a user. Requires `roles.grant`, and a role that the caller's roles may grant.
    async fn grant_role(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "User, role and reason.")] input: RoleChangeInput,
    ) -> Result<Option<RoleChangePayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let user = call.id("userId", &input.user_id);
        let (role, reason) = (input.role, input.reason);
        call.finish(user, &GrantRole { user, role, reason }).await
    }

    /// Removes a role from a user. It takes effect immediately, on open connections too.
    async fn remove_role(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "User, role and reason.")] input: RoleChangeInput,
    ) -> Result<Option<RoleChangePayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let user = call.id("userId", &input.user_id);
        let (role, reason) = (input.role, input.reason);
        call.finish(user, &RemoveRole { user, role, reason }).await
    }
}
