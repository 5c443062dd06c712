//! What is acted on, and who has a part in it: the facts about the thing that a decision is made from.
//!
//! One rule: parties are data. What a part in a thing allows stands in [`PartyRole::allows`], nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Action, UserPrincipal};
use crate::{
    id::{OrganizationId, ProjectId, UserId, WorkerId},
    payload::Leaves,
};

/// Who can be given a part in a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Leaves)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Party {
    /// One account.
    User(UserId),
    /// The founder, owners and members of a project.
    Project(ProjectId),
    /// Every account of an organization.
    Organization(OrganizationId),
}

impl Party {
    /// Its kind, as it is recorded, and its bare id.
    #[must_use]
    pub const fn parts(self) -> (&'static str, Uuid) {
        match self {
            Self::User(id) => ("user", id.0),
            Self::Project(id) => ("project", id.0),
            Self::Organization(id) => ("organization", id.0),
        }
    }

    /// The party of this kind and bare id; see [`Party::parts`].
    #[must_use]
    pub fn of(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "user" => Some(Self::User(id.into())),
            "project" => Some(Self::Project(id.into())),
            "organization" => Some(Self::Organization(id.into())),
            _ => None,
        }
    }

    /// An account that is nobody's.
    pub const NOBODY: Self = Self::User(UserId(Uuid::nil()));

    /// Whether it is one account.
    #[must_use]
    pub fn is_user(self) -> bool {
        matches!(self, Self::User(_))
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Project(id) => id.fmt(f),
            Self::Organization(id) => id.fmt(f),
        }
    }
}

/// The text is the id of no user, project or organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the id of a user, a project or an organization")]
pub struct NoParty;

impl std::str::FromStr for Party {
    type Err = NoParty;
    fn from_str(text: &str) -> Result<Self, NoParty> {
        let user = || text.parse().map(Self::User);
        let project = || text.parse().map(Self::Project);
        let organization = || text.parse().map(Self::Organization);
        user()
            .or_else(|_| project())
            .or_else(|_| organization())
            .map_err(|_| NoParty)
    }
}

/// The part that a party has in a thing. The founder's is none of these: it stands in the thing itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum PartyRole {
    /// Sees it (PR-5, PR-8).
    Viewer,
    /// Sees it and makes new things in it (PR-1, PR-4).
    Member,
    /// Sees it, changes it and takes it out (PR-5, PR-8).
    Editor,
    /// As its founder, but does not end it (PR-1).
    Owner,
}

impl PartyRole {
    /// Its stable name; also the rule that a decision names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }

    /// Whether this part in a thing of `kind` lets a user do `action` who holds its permission, or does not. Reading
    /// comes with every part. Everything else takes the permission too, but for an owner's changes.
    #[must_use]
    pub fn allows(self, action: Action, kind: &str, held: bool) -> bool {
        match self {
            _ if action.verb() == "read" => true,
            Self::Viewer => false,
            Self::Member => held && action.verb() == "create",
            Self::Editor => held && matches!(action.verb(), "create" | "update" | "export"),
            Self::Owner if action.verb() == "delete" && action.resource() == kind => false,
            Self::Owner => held || action.comes_with_ownership(),
        }
    }
}

/// A part in a thing, as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Share {
    /// To whom.
    #[serde(flatten)]
    pub party: Party,
    /// Which part.
    pub role: PartyRole,
    /// Until when; `None`: until it is revoked. At this very time it is over.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// By whom.
    pub by: UserId,
}

impl Share {
    /// Whether it is the same part for the same time, whoever gave it.
    #[must_use]
    pub fn same_part(&self, other: &Self) -> bool {
        (self.party, self.role, self.until) == (other.party, other.role, other.until)
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Who is in a project, so that what is shared with the project can be decided.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    /// Who founded it; `None` when there is no such project any more, so that it has no members.
    pub founder: Option<UserId>,
    /// Its owners and members.
    pub shares: Vec<Share>,
}

impl Membership {
    fn includes(&self, user: UserId, now: OffsetDateTime) -> bool {
        let listed = |share: &Share| share.party == Party::User(user) && share.holds(now);
        self.founder
            .is_some_and(|founder| founder == user || self.shares.iter().any(listed))
    }
}

/// Who can see a resource that is not granted to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Those who have a part in it only.
    #[default]
    Private,
    /// Everybody who is signed in may read.
    Public,
}

/// The facts of what is acted on.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its id or name at the edge, for the record.
    pub name: String,
    /// The kind of thing, as the permissions name it: `models` of `models.read`.
    pub kind: &'static str,
    /// Whether there is such a thing.
    pub exists: bool,
    /// Whether things of this kind belong to somebody; if not, the permission alone decides.
    pub owned: bool,
    /// Who created it, and alone ends it.
    pub founder: Option<UserId>,
    /// Who else has a part in it.
    pub shares: Vec<Share>,
    /// Who is in the projects that have a part in it. One that is missing has no members.
    pub memberships: BTreeMap<ProjectId, Membership>,
    /// Who can read it without a part in it.
    pub visibility: Visibility,
    /// When a worker acts: the worker that holds it now.
    pub leased_to: Option<WorkerId>,
}

impl Resource {
    /// A kind of thing as a whole, when something new is made.
    #[must_use]
    pub fn kind(kind: &'static str) -> Self {
        Self {
            name: kind.to_owned(),
            kind,
            exists: true,
            owned: false,
            founder: None,
            shares: Vec::new(),
            memberships: BTreeMap::new(),
            visibility: Visibility::Private,
            leased_to: None,
        }
    }

    /// A thing of that kind that belongs to nobody.
    #[must_use]
    pub fn unowned(kind: &'static str, name: impl std::fmt::Display, exists: bool) -> Self {
        Self {
            name: name.to_string(),
            exists,
            ..Self::kind(kind)
        }
    }

    /// A thing of that kind, founded by `founder`; `None` when there is no such thing.
    #[must_use]
    pub fn of(kind: &'static str, name: impl std::fmt::Display, founder: Option<UserId>) -> Self {
        Self {
            owned: true,
            founder,
            ..Self::unowned(kind, name, founder.is_some())
        }
    }

    /// Under the name of what was asked for, which is in it: a refusal names that.
    #[must_use]
    pub fn called(self, name: impl std::fmt::Display) -> Self {
        Self {
            name: name.to_string(),
            ..self
        }
    }

    /// With these parts in it.
    #[must_use]
    pub fn shared_with(self, shares: impl IntoIterator<Item = Share>) -> Self {
        Self {
            shares: shares.into_iter().collect(),
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

    /// The parts that `user` has in it at `now`, as member of a project and of an organization too. They add up.
    pub(super) fn roles_of(&self, user: &UserPrincipal, now: OffsetDateTime) -> Vec<PartyRole> {
        let reaches = |party: Party| match party {
            Party::User(id) => id == user.user,
            Party::Organization(id) => user.organization == Some(id),
            Party::Project(id) => self
                .memberships
                .get(&id)
                .is_some_and(|members| members.includes(user.user, now)),
        };
        let held = |share: &&Share| share.holds(now) && reaches(share.party);
        self.shares.iter().filter(held).map(|share| share.role).collect()
    }
}
