//! Who acts, and on what: the facts that a decision is made from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Action;
use crate::{
    id::{OrganizationId, SessionId, UserId, WorkerId},
    quota::Quotas,
};

/// The state of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// A signed-in person or program: what the decision needs to know of it.
#[derive(Clone, Debug)]
pub struct UserPrincipal {
    /// The account.
    pub user: UserId,
    /// The session it acts in; `None` for keys and for operator commands.
    pub session: Option<SessionId>,
    /// Its organisation.
    pub organization: Option<OrganizationId>,
    /// The state of the account.
    pub account: AccountState,
    /// Names of its roles.
    pub roles: BTreeSet<String>,
    /// The permissions of its roles, added up.
    pub permissions: BTreeSet<Action>,
    /// The roles it may grant.
    pub may_grant: BTreeSet<String>,
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

    /// Whether it holds `action` by its roles.
    #[must_use]
    pub fn holds(&self, action: Action) -> bool {
        matches!(self, Self::User(user) if user.permissions.contains(&action))
    }
}

/// Who can see a resource that is not granted to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Owner and members only.
    #[default]
    Private,
    /// Everybody who is signed in may read.
    Public,
}

impl Visibility {
    /// What it takes, besides the right to create things of the kind `name`, to create one that is seen so: to show
    /// something to everybody is to share it.
    #[must_use]
    pub fn requires(self, share: Action, name: &str) -> Option<(Action, Resource)> {
        (self == Self::Public).then(|| (share, Resource::kind(name)))
    }
}

/// The facts of what is acted on.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its id or name at the edge, for the record.
    pub name: String,
    /// Whether there is such a thing.
    pub exists: bool,
    /// Whether things of this kind belong to somebody; if not, the permission alone decides.
    pub owned: bool,
    /// Who owns it.
    pub owners: Vec<UserId>,
    /// Who takes part in it.
    pub members: Vec<UserId>,
    /// Who can read it besides its owner.
    pub visibility: Visibility,
    /// When a worker acts: the worker that holds it now.
    pub leased_to: Option<WorkerId>,
}

impl Resource {
    /// A kind of thing as a whole, when something new is made, or a thing that belongs to nobody.
    #[must_use]
    pub fn kind(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exists: true,
            owned: false,
            owners: Vec::new(),
            members: Vec::new(),
            visibility: Visibility::Private,
            leased_to: None,
        }
    }

    /// Something of `owner`; `None` when there is no such thing.
    #[must_use]
    pub fn of(name: impl std::fmt::Display, owner: Option<UserId>) -> Self {
        Self {
            exists: owner.is_some(),
            owned: true,
            owners: owner.into_iter().collect(),
            ..Self::kind(&name.to_string())
        }
    }

    /// With these members.
    #[must_use]
    pub fn with_members(self, members: impl IntoIterator<Item = UserId>) -> Self {
        Self {
            members: members.into_iter().collect(),
            ..self
        }
    }

    /// Seen by `visibility`.
    #[must_use]
    pub fn seen_by(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// Leased to `worker`.
    #[must_use]
    pub fn leased_to(self, worker: Option<WorkerId>) -> Self {
        Self {
            leased_to: worker,
            ..self
        }
    }
}
