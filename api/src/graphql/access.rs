//! Roles: what there are, who holds them, granting and removing; and why a decision comes out as it does.

mod rights;
mod role_assignment;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    access::assignment::{GrantRefusal, GrantRole, RemoveRole},
    authz::Action,
    execute::Command,
    id::UserId,
};
use projections::access::role::RoleRow;

pub use rights::*;
pub use role_assignment::{RoleAssignment, roles_of};

use super::{
    as_of::{AsOf, Moment, View, view},
    context::{Outcome, app, at_least, reach, require, run, unreadable, user},
    identity::User,
    scalars::Long,
    user_error::{UserError, UserErrorCode},
};

/// A role.
pub struct Role(pub RoleRow, pub View);

/// A named set of permissions and quotas.
#[Object]
impl Role {
    /// Unique name.
    async fn name(&self) -> &str {
        &self.0.name
    }
    /// What it is for.
    async fn description(&self) -> &str {
        &self.0.description
    }
    /// Names of its permissions.
    async fn permissions(&self) -> Vec<&str> {
        self.0.permissions.iter().map(String::as_str).collect()
    }
    /// Names of the roles that its holders may grant, when they hold `roles.grant`.
    async fn may_grant(&self) -> Vec<&str> {
        self.0.may_grant.iter().map(String::as_str).collect()
    }
    /// Its limits.
    async fn quotas(&self) -> Quotas {
        self.0.quotas.into()
    }
    /// The moment of the past that this shows; null for the present.
    async fn as_of(&self) -> Option<Moment> {
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
    /// Jobs queued or under way at once.
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

/// A permission of the catalogue.
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
    /// Why; recorded.
    pub reason: String,
}

/// What came of a change of roles.
#[derive(SimpleObject)]
pub struct RoleChangePayload {
    /// The user with its roles; null when nothing was changed.
    pub user: Option<User>,
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
    pub user_errors: Vec<UserError>,
}

impl RoleChangePayload {
    fn wrong(fault: UserError) -> Self {
        Self {
            user: None,
            position: None,
            user_errors: vec![fault],
        }
    }
}

fn fault(reason: &GrantRefusal) -> UserError {
    let (path, code) = match reason {
        GrantRefusal::UnknownRole(_) => ("role", UserErrorCode::UnknownRole),
        GrantRefusal::UnknownUser => ("userId", UserErrorCode::UnknownUser),
        GrantRefusal::BeyondOwnGrants(_) => ("role", UserErrorCode::BeyondOwnGrants),
        GrantRefusal::OwnRoles => ("userId", UserErrorCode::OwnRoles),
        GrantRefusal::LastAdministrator => ("role", UserErrorCode::LastAdministrator),
        GrantRefusal::ReasonMissing | GrantRefusal::Reason(_) => ("reason", UserErrorCode::Invalid),
    };
    UserError::at(path, reason.to_string(), code)
}

async fn change<C: Command<Refusal = GrantRefusal>>(
    context: &Context<'_>,
    target: UserId,
    command: C,
) -> Result<RoleChangePayload> {
    user(context)?;
    match run(context, &command).await? {
        Outcome::Done(position) => {
            reach(context, position).await?;
            let pool = &app(context)?.pool;
            let row = projections::identity::user::find(pool, target)
                .await
                .map_err(|e| unreadable(&e))?;
            Ok(RoleChangePayload {
                user: row.map(User),
                position: Some(position.into()),
                user_errors: Vec::new(),
            })
        }
        Outcome::Refused(reason) => Ok(RoleChangePayload::wrong(fault(&reason))),
        Outcome::NotFound => Ok(RoleChangePayload::wrong(fault(&GrantRefusal::UnknownUser))),
    }
}

/// Queries about roles.
#[derive(Default)]
pub struct AccessQuery;

#[Object]
impl AccessQuery {
    /// All roles, by name. Needs `roles.read`.
    async fn roles(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Vec<Role>> {
        require(context, Action::RolesRead, "roles")?;
        at_least(context, min_position).await?;
        let view = view(context, as_of).await?;
        let rows = projections::access::role::list(&app(context)?.pool, view.moment)
            .await
            .map_err(|e| unreadable(&e))?;
        Ok(rows.into_iter().map(|row| Role(row, view)).collect())
    }

    /// The catalogue of permissions.
    async fn permissions(&self, context: &Context<'_>) -> Result<Vec<Permission>> {
        user(context)?;
        let all = Action::ALL.iter();
        Ok(all
            .map(|action| Permission {
                name: action.name(),
                description: action.description(),
            })
            .collect())
    }

    /// The signed-in user's own permissions, by name.
    async fn my_permissions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
    ) -> Result<Vec<&'static str>> {
        let now = user(context)?;
        let permissions = match view(context, as_of).await?.moment {
            projections::history::Moment::Now => now.permissions.clone(),
            then => projections::access::rights::of_user(&app(context)?.pool, then, now.user)
                .await
                .map_err(|error| unreadable(&error))?
                .map(|rights| rights.principal.permissions)
                .unwrap_or_default(),
        };
        Ok(permissions.into_iter().map(Action::name).collect())
    }
}

/// Changes of who holds which role.
#[derive(Default)]
pub struct AccessMutation;

#[Object]
impl AccessMutation {
    /// Gives a role to a user. Needs `roles.grant`, and only roles that one's own roles may grant.
    async fn grant_role(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "User, role and reason.")] input: RoleChangeInput,
    ) -> Result<RoleChangePayload> {
        match input.user_id.parse::<UserId>() {
            Ok(user) => {
                change(
                    context,
                    user,
                    GrantRole {
                        user,
                        role: input.role,
                        reason: input.reason,
                    },
                )
                .await
            }
            Err(error) => {
                user(context)?;
                Ok(RoleChangePayload::wrong(UserError::at(
                    "userId",
                    error.to_string(),
                    UserErrorCode::Invalid,
                )))
            }
        }
    }

    /// Takes a role from a user. It stops working at once, on open connections too.
    async fn remove_role(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "User, role and reason.")] input: RoleChangeInput,
    ) -> Result<RoleChangePayload> {
        match input.user_id.parse::<UserId>() {
            Ok(user) => {
                change(
                    context,
                    user,
                    RemoveRole {
                        user,
                        role: input.role,
                        reason: input.reason,
                    },
                )
                .await
            }
            Err(error) => {
                user(context)?;
                Ok(RoleChangePayload::wrong(UserError::at(
                    "userId",
                    error.to_string(),
                    UserErrorCode::Invalid,
                )))
            }
        }
    }
}
