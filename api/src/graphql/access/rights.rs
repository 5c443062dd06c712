//! Who may do what, now or as of an earlier moment.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject, connection::Connection};
use domain::{
    authz::{AccountState as State, Action},
    event_store::Position,
    id::UserId,
};
use projections::{
    access::{rights::Rights, usage::UsageRow},
    jobs::usage::{self, WorkerTime},
};

use super::{
    Quotas,
    role_assignment::{RoleAssignment, roles_of},
};
use crate::graphql::{
    as_of::{AsOf, Moment, Seen, View, view},
    context::{app, at_least, coded, require, unreadable, user},
    ids::id_or_not_found,
    paging::{connect_seen, page, weight},
    scalars::Long,
};

/// How far an account may act. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum AccountState {
    /// Everything that its roles permit.
    Active,
    /// Its address is not proven: it sees its own profile only.
    Unverified,
    /// Nothing.
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

/// What is taken of an account's quotas.
#[derive(SimpleObject)]
pub struct QuotaUsage {
    /// Projects owned.
    pub projects: i32,
    /// Datasets owned.
    pub datasets: i32,
    /// Jobs queued or under way.
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
pub struct UserAccess(pub Rights, pub View);

impl UserAccess {
    async fn time(&self, context: &Context<'_>) -> Result<WorkerTime> {
        let found = usage::of_user(&app(context)?.pool, self.1.moment, self.0.principal.user).await;
        found.map_err(|error| unreadable(&error))
    }
}

/// What an account may do: its state, roles, permissions and quotas, all at one moment.
#[Object]
impl UserAccess {
    /// The account, by id.
    async fn user_id(&self) -> ID {
        self.0.principal.user.to_string().into()
    }
    /// How far the account may act. Its permissions work only while it is active.
    async fn account(&self) -> AccountState {
        self.0.principal.account.into()
    }
    /// The roles it holds, by name.
    async fn roles(&self) -> Vec<RoleAssignment> {
        let held = self.0.assignments.iter();
        held.map(|row| RoleAssignment(row.clone(), self.1)).collect()
    }
    /// Names of the permissions of its roles, added up.
    async fn permissions(&self) -> Vec<&'static str> {
        let all = self.0.principal.permissions.iter();
        all.map(|action| action.name()).collect()
    }
    /// Names of the roles that it may grant, when it holds `roles.grant`.
    async fn may_grant(&self) -> Vec<&str> {
        self.0.principal.may_grant.iter().map(String::as_str).collect()
    }
    /// Its limits: the most generous of its roles.
    async fn quotas(&self) -> Quotas {
        self.0.principal.quotas.into()
    }
    /// What is taken of them.
    async fn usage(&self) -> QuotaUsage {
        (&self.0.usage).into()
    }
    /// Seconds that its jobs have had workers, over all attempts that have ended.
    async fn worker_seconds(&self, context: &Context<'_>) -> Result<f64> {
        Ok(self.time(context).await?.worker_milliseconds as f64 / 1_000.0)
    }
    /// Seconds of them on GPUs.
    async fn gpu_seconds(&self, context: &Context<'_>) -> Result<f64> {
        Ok(self.time(context).await?.gpu_milliseconds as f64 / 1_000.0)
    }
    /// The moment that all of this shows.
    async fn as_of(&self) -> Option<Moment> {
        self.1.shown
    }
}

/// Somebody who holds a permission at one moment.
pub struct PermissionHolder(UserId, View);

/// An active account that holds a permission by one of its roles.
#[Object]
impl PermissionHolder {
    /// The account, by id.
    async fn user_id(&self) -> ID {
        self.0.to_string().into()
    }
    /// All roles that it holds, by name.
    async fn roles(&self, context: &Context<'_>) -> Result<Vec<RoleAssignment>> {
        roles_of(context, self.0, self.1).await
    }
}

/// Queries about what accounts may do.
#[derive(Default)]
pub struct RightsQuery;

#[Object]
impl RightsQuery {
    /// What an account may do and what it has taken of its quotas; null when there is no such account at that
    /// moment. That of others needs `roles.read`.
    async fn access(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The account; one's own if not given.")] user_id: Option<ID>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
        #[graphql(desc = "Wait until the answer shows everything up to this position.")] min_position: Option<
            Long,
        >,
    ) -> Result<Option<UserAccess>> {
        let own = user(context)?.user;
        let Ok(of) = user_id.map_or(Ok(own), |id| id_or_not_found(&id)) else {
            return Ok(None);
        };
        if of != own {
            require(context, Action::RolesRead, "roles")?;
        }
        at_least(context, min_position).await?;
        // The parts of the answer fit each other at a fixed moment: the present is the head of the log.
        let Position(head) = app(context)?.ports.store.known_head();
        let view = view(context, as_of.or(Some(AsOf::Position(Long(head))))).await?;
        let rights = projections::access::rights::of_user(&app(context)?.pool, view.moment, of).await;
        let rights = rights.map_err(|error| unreadable(&error))?;
        Ok(rights.map(|rights| UserAccess(rights, view)))
    }

    /// The active accounts that hold a permission, the newest first. Needs `roles.read`.
    #[graphql(complexity = "weight(first, child_complexity)")]
    async fn permission_holders(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Name of the permission.")] permission: String,
        #[graphql(desc = "Rows on the page, 1 to 100; 25 if not given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "At which moment of the past; now if not given.")] as_of: Option<AsOf>,
    ) -> Result<Connection<String, PermissionHolder, Seen>> {
        require(context, Action::RolesRead, "roles")?;
        let request = page(first, after.as_deref())?;
        let action = Action::named(&permission).ok_or_else(|| {
            coded(
                "BAD_USER_INPUT",
                format!("there is no permission '{permission}'; `permissions` lists them"),
            )
        })?;
        let view = view(context, as_of).await?;
        let pool = &app(context)?.pool;
        let rows = projections::access::rights::holders(pool, view.moment, action, &request).await;
        let rows = rows.map_err(|error| unreadable(&error))?;
        Ok(connect_seen(rows, after.as_deref(), view, |user| {
            (user.0.to_string(), PermissionHolder(user, view))
        }))
    }
}
