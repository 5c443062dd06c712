//! Who may do what, now or as of an earlier moment.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use domain::{
    authz::{AccountState as State, Action},
    event_store::Position,
    id::UserId,
};
use projections::{
    access::{rights::Rights, usage::UsageRow},
    jobs::usage::{self, WorkerTime},
};

use super::Quotas;
use crate::graphql::{
    as_of::{AsOfInput, LogInstant, ResolvedAsOf, resolve_as_of},
    context::{app, honor_min_position, require, user},
    errors::{error_with_code, read_failed},
    ids::id_or_not_found,
    paging::{AsOfInfo, Connection, Count, List},
    scalars::Long,
    types::{RoleAssignment, User, roles_of, user_by_id},
};

/// State of an account. New values may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AccountState {
    /// It may do everything its roles permit.
    Active,
    /// Its e-mail address is not verified: it can see only its own profile.
    Unverified,
    /// Disabled: it may do nothing.
    Deactivated,
}

impl From<State> for AccountState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Unverified => Self::Unverified,
            State::Deactivated => Self::Deactivated,
        }
    }
}

/// Quota usage of an account.
#[derive(SimpleObject)]
pub struct QuotaUsage {
    /// Projects owned.
    pub projects: i32,
    /// Datasets owned.
    pub datasets: i32,
    /// Queued, running and paused jobs.
    pub concurrent_jobs: i32,
    /// Bytes stored.
    pub storage_bytes: Long,
}

impl From<&UsageRow> for QuotaUsage {
    fn from(row: &UsageRow) -> Self {
        Self {
            projects: row.projects,
            datasets: row.datasets,
            concurrent_jobs: row.concurrent_jobs,
            storage_bytes: row.storage_bytes.into(),
        }
    }
}

/// What an account may do at one moment.
pub struct UserAccess(pub Rights, pub ResolvedAsOf);

impl UserAccess {
    async fn time(&self, context: &Context<'_>) -> Result<WorkerTime> {
        let found = usage::of_user(&app(context)?.read_models, self.1.as_of, self.0.principal.user).await;
        found.map_err(|error| read_failed(&error))
    }
}

/// State, roles, permissions and quotas of an account at one log position.
#[Object]
impl UserAccess {
    /// ID of the account.
    async fn user_id(&self) -> ID {
        self.0.principal.user.to_string().into()
    }
    /// The account; null if the caller may not read it.
    async fn user(&self, context: &Context<'_>) -> Result<Option<User>> {
        user_by_id(context, self.0.principal.user).await
    }
    /// State of the account. Its permissions apply only while it is active.
    async fn account(&self) -> AccountState {
        self.0.principal.account.into()
    }
    /// Its roles, by name.
    async fn roles(&self) -> Vec<RoleAssignment> {
        let held = self.0.assignments.iter();
        held.map(|row| RoleAssignment(row.clone(), self.1)).collect()
    }
    /// Names of the permissions of all its roles.
    async fn permissions(&self) -> Vec<&'static str> {
        let all = self.0.principal.permissions.iter();
        all.map(|action| action.name()).collect()
    }
    /// Names of the roles that it may grant if it has `roles.grant`.
    async fn may_grant(&self) -> Vec<&str> {
        self.0.principal.may_grant.iter().map(String::as_str).collect()
    }
    /// Its quotas: the highest of its roles.
    async fn quotas(&self) -> Quotas {
        self.0.principal.quotas.into()
    }
    /// Quota usage.
    async fn usage(&self) -> QuotaUsage {
        (&self.0.usage).into()
    }
    /// Worker seconds of its jobs, over all ended attempts.
    async fn worker_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        Ok(Some(
            self.time(context).await?.worker_milliseconds as f64 / 1_000.0,
        ))
    }
    /// Of those, seconds on GPU workers.
    async fn gpu_seconds(&self, context: &Context<'_>) -> Result<Option<f64>> {
        Ok(Some(self.time(context).await?.gpu_milliseconds as f64 / 1_000.0))
    }
    /// The log position that this reflects.
    async fn as_of(&self) -> Option<LogInstant> {
        self.1.shown
    }
}

/// Somebody who holds a permission at one moment.
pub struct PermissionHolder(UserId, ResolvedAsOf);

/// An active account that has a permission through one of its roles.
#[Object]
impl PermissionHolder {
    /// ID of the account.
    async fn user_id(&self) -> ID {
        self.0.to_string().into()
    }
    /// The account; null if the caller may not read it.
    async fn user(&self, context: &Context<'_>) -> Result<Option<User>> {
        user_by_id(context, self.0).await
    }
    /// Its roles, by name.
    async fn roles(&self, context: &Context<'_>) -> Result<Option<Vec<RoleAssignment>>> {
        roles_of(context, self.0, self.1).await.map(Some)
    }
}

/// The list of those who hold a permission.
const HOLDERS: List = List::by_id("permissionHolders.newest");

/// Queries about what accounts may do.
#[derive(Default)]
pub struct RightsQuery;

#[Object]
impl RightsQuery {
    /// Permissions and quota usage of an account; null if it did not exist at that time. Other users' access requires
    /// `roles.read`.
    async fn access(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account; the caller's if omitted.")] user_id: Option<ID>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<UserAccess>> {
        let own = user(context)?.user;
        let Ok(of) = user_id.map_or(Ok(own), |id| id_or_not_found(&id)) else {
            return Ok(None);
        };
        if of != own {
            require(context, Action::RolesRead, "roles")?;
        }
        honor_min_position(context, min_position).await?;
        // The parts of the answer fit each other at a fixed moment: the present is the head of the log.
        let Position(head) = app(context)?.ports.store.known_head();
        let resolved = resolve_as_of(context, as_of.or(Some(AsOfInput::Position(Long(head))))).await?;
        let rights =
            projections::access::rights::of_user(&app(context)?.read_models, resolved.as_of, of).await;
        let rights = rights.map_err(|error| read_failed(&error))?;
        Ok(rights.map(|rights| UserAccess(rights, resolved)))
    }

    /// The active accounts with a permission, newest first. Requires `roles.read`.
    async fn permission_holders(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Name of the permission.")] permission: String,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
    ) -> Result<Option<Connection<PermissionHolder, AsOfInfo>>> {
        require(context, Action::RolesRead, "roles")?;
        let request = HOLDERS.page(first, after.as_deref())?;
        let action = Action::named(&permission).ok_or_else(|| {
            error_with_code(
                "BAD_USER_INPUT",
                format!("there is no permission '{permission}'; `permissions` lists them"),
            )
        })?;
        let resolved = resolve_as_of(context, as_of).await?;
        let read_models = &app(context)?.read_models;
        let rows = projections::access::rights::holders(read_models, resolved.as_of, action, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        let connection = HOLDERS.connect_as_of(rows, after.as_deref(), resolved, Count::NONE, |user| {
            (user.0.to_string(), PermissionHolder(user, resolved))
        });
        Ok(Some(connection))
    }
}
