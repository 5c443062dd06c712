//! Who acts: the facts about the actor that a decision is made from.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Action;
use crate::{
    id::{OrganizationId, SessionId, UserId, WorkerId},
    quota::Quotas,
};

/// The state of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Everything that its roles permit.
    Active,
    /// Its e-mail is not verified: only its own profile (ID-3).
    #[default]
    Unverified,
    /// Nothing (ID-5).
    Deactivated,
}

/// A signed-in person or program: what the decision needs to know of it. A copy shares what its roles give.
#[derive(Clone, Debug)]
pub struct UserPrincipal {
    /// The account.
    pub user: UserId,
    /// The session it acts in; `None` for keys and for operator commands.
    pub session: Option<SessionId>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// The state of the account.
    pub account: AccountState,
    /// Names of its roles.
    pub roles: Arc<BTreeSet<String>>,
    /// The permissions of its roles, added up.
    pub permissions: Arc<BTreeSet<Action>>,
    /// The roles it may grant.
    pub may_grant: Arc<BTreeSet<String>>,
    /// The most generous quotas of its roles.
    pub quotas: Quotas,
}

/// The actor.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nobody signed in.
    Anonymous,
    /// A person or a program with an account.
    User(Box<UserPrincipal>),
    /// A worker: may report on the jobs that it leases, nothing else.
    Worker(WorkerId),
    /// A part of the system itself, named.
    System(&'static str),
}

impl Principal {
    /// The actor as recorded with events.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User(user) => format!("user:{}", user.user),
            Self::Worker(worker) => format!("worker:{worker}"),
            Self::System(part) => format!("system:{part}"),
        }
    }

    /// The account, when a user acts.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user.user),
            _ => None,
        }
    }

    /// The organization of the account, when a user acts who is in one.
    #[must_use]
    pub fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::User(user) => user.organization,
            _ => None,
        }
    }

    /// Whether it holds `action` by its roles.
    #[must_use]
    pub fn holds(&self, action: Action) -> bool {
        matches!(self, Self::User(user) if user.permissions.contains(&action))
    }
}
