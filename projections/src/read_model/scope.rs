//! Who may see the rows of a read model.
//!
//! One rule: a read model declares its scope, and the conditions are written here only, for all of them. They say the
//! same as `domain::authz::decide` does of reading; `tests/it/projections/scopes.rs` compares the two.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    authz::{Action, UserPrincipal},
    id::{OrganizationId, UserId},
};
use time::OffsetDateTime;

use super::{Query, ReadModel};

/// Who may see the rows of a read model.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Shared things: their founder, everybody who has a part in them, and everybody at all where they are public.
    Shared {
        /// The column of the founder.
        founder: &'static str,
        /// The column of the visibility, for things that can be public.
        visibility: Option<&'static str>,
        /// The permission to read them.
        read: Action,
    },
    /// Things of one user each.
    Own {
        /// The column of the user.
        owner: &'static str,
        /// The permission to read them.
        read: Action,
    },
    /// Things of one user each, which whoever holds the permission sees too.
    OwnOr {
        /// The column of the user.
        owner: &'static str,
        /// The permission to see those of others.
        permission: Action,
    },
    /// What is in a thing: whoever may see the thing.
    Within {
        /// The column of the thing's key.
        column: &'static str,
        /// The things.
        parent: &'static Parent,
    },
    /// Rows that belong to nobody: whoever holds the permission.
    Permission(Action),
    /// No client reads these rows by scope; why.
    Internal(&'static str),
}

/// The things that rows are in.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// Their read model.
    pub name: &'static str,
    /// Their table.
    pub table: &'static str,
    /// The column of their key.
    pub key: &'static str,
    /// Who may see them.
    pub scope: Scope,
}

impl Parent {
    /// The things of `M`.
    #[must_use]
    pub const fn of<M: ReadModel>() -> Self {
        Self {
            name: M::NAME,
            table: M::TABLE,
            key: M::KEY,
            scope: M::SCOPE,
        }
    }
}

/// Why somebody sees a thing: the first of these that holds (PR-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It is theirs.
    Owner,
    /// They have a part in it, by themselves, their organization or a project.
    Shared,
    /// Everybody sees it.
    Public,
}

/// Who reads, and when: what conditions are bound to.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Who reads; `None`: the system.
    reader: Option<UserId>,
    /// Whose things; `None`: everybody's.
    user: Option<UserId>,
    organization: Option<OrganizationId>,
    permissions: Arc<BTreeSet<Action>>,
    now: OffsetDateTime,
}

impl Viewer {
    /// A user at `now`; an administrator sees everything. The state of the account is decided before.
    #[must_use]
    pub fn of(user: &UserPrincipal, now: OffsetDateTime) -> Self {
        let everything = user.permissions.contains(&Action::SystemAdmin);
        Self {
            reader: Some(user.user),
            user: (!everything).then_some(user.user),
            organization: user.organization,
            permissions: user.permissions.clone(),
            now,
        }
    }

    /// The system itself, which sees everything.
    #[must_use]
    pub fn everything(now: OffsetDateTime) -> Self {
        Self {
            reader: None,
            user: None,
            organization: None,
            permissions: Arc::default(),
            now,
        }
    }

    /// The same reader without an administrator's view of everything.
    #[must_use]
    pub fn by_itself(&self) -> Self {
        Self {
            user: self.reader,
            ..self.clone()
        }
    }

    /// Whether it sees everybody's things.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        self.user.is_none()
    }

    /// Whether it sees the things of `owner` that are shared with nobody.
    #[must_use]
    pub fn sees_things_of(&self, owner: UserId) -> bool {
        self.user.is_none_or(|user| user == owner)
    }
}

/// Two are the same who see the same at the same time: when that is, is not compared.
impl PartialEq for Viewer {
    fn eq(&self, other: &Self) -> bool {
        (self.reader, self.user, self.organization, &self.permissions)
            == (other.reader, other.user, other.organization, &other.permissions)
    }
}

impl Eq for Viewer {}

impl std::hash::Hash for Viewer {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.reader, self.user, self.organization, &self.permissions).hash(state);
    }
}

/// How many parameters the conditions of a scope take; others begin after them.
pub(super) const PARAMETERS: usize = 3;

/// Binds the parameters of the conditions.
pub(super) fn bind<'q>(query: Query<'q>, viewer: &Viewer) -> Query<'q> {
    query
        .bind(viewer.user.map(|user| user.0))
        .bind(viewer.organization.map(|organization| organization.0))
        .bind(viewer.now)
}

/// A condition on a row of `t`.
pub(super) struct Condition {
    /// It, as SQL.
    pub(super) sql: String,
    /// The keys of the rows for which it holds, where there are few of them.
    pub(super) keys: Option<&'static str>,
    /// Why they are seen, if one can tell.
    pub(super) access: Option<Access>,
    /// The column that has the same value in all of them, where that is what the condition says.
    pub(super) same: Option<Same>,
}

/// A column that has one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Same {
    pub(super) column: &'static str,
    /// The value, as SQL.
    pub(super) value: &'static str,
}

impl From<String> for Condition {
    fn from(sql: String) -> Self {
        Self {
            sql,
            keys: None,
            access: None,
            same: None,
        }
    }
}

impl Condition {
    fn because(sql: String, access: Access) -> Self {
        Self {
            access: Some(access),
            ..sql.into()
        }
    }

    /// What is the viewer's own, by this column.
    fn own(column: &'static str) -> Self {
        let value = "$1::uuid";
        Self {
            same: Some(Same { column, value }),
            ..format!("(t.{column} = {value} and {TYPED})").into()
        }
    }
}

/// Of whom nothing is asked but the user: the other parameters have their types all the same.
pub(super) const TYPED: &str = "($2::uuid is null or true) and $3::timestamptz is not null";

/// The conditions under which `viewer` sees a row of `t`, of the present or of the past, of which one has to hold. Each
/// alone can use an index.
pub(super) fn conditions<M: ReadModel>(viewer: &Viewer, past: bool) -> Vec<Condition> {
    of(&Parent::of::<M>(), viewer, past)
}

/// `past`: `t` are rows of the past. Who may see them is decided by the rights of now.
fn of(table: &Parent, viewer: &Viewer, past: bool) -> Vec<Condition> {
    // The parameters stand in every statement, so that their number and types do not depend on who asks.
    let everybody = "($1::uuid is null and ($2::uuid is null or true) and $3::timestamptz is not null)";
    if viewer.sees_everything() && !matches!(table.scope, Scope::Internal(_)) {
        return vec![everybody.to_owned().into()];
    }
    let typed = TYPED;
    match table.scope {
        Scope::Shared {
            founder, visibility, ..
        } => {
            let key = table.key;
            let mut all = vec![
                Condition {
                    access: Some(Access::Owner),
                    ..Condition::own(founder)
                },
                Condition {
                    keys: Some(SHARED),
                    ..Condition::because(format!("t.{key} in ({SHARED})"), Access::Shared)
                },
            ];
            let public = visibility.map(|visibility| match past {
                false => format!("(t.{visibility} = 'public' and $1::uuid is not null and {typed})"),
                true => format!(
                    "(t.{key} in (select n.{key} from {} n where n.{visibility} = 'public') \
                     and $1::uuid is not null and {typed})",
                    table.table
                ),
            });
            all.extend(public.map(|sql| Condition::because(sql, Access::Public)));
            all
        }
        Scope::Own { owner, .. } => vec![Condition::own(owner)],
        Scope::OwnOr { owner, permission } => {
            let held = viewer.permissions.contains(&permission);
            vec![format!("((t.{owner} = $1::uuid or ({held} and $1::uuid is not null)) and {typed})").into()]
        }
        Scope::Within { column, parent } => {
            vec![format!("t.{column} in ({})", visible(parent, viewer)).into()]
        }
        Scope::Permission(action) => {
            let held = viewer.permissions.contains(&action);
            vec![format!("({held} and $1::uuid is not null and {typed})").into()]
        }
        Scope::Internal(_) => vec![format!("(false and $1::uuid is null and {typed})").into()],
    }
}

/// The read models that have to follow the log for `viewer` to be shown rows of `M`: its own, and those that say which
/// rows it may see.
pub(super) fn needed<M: ReadModel>(viewer: &Viewer) -> Vec<&'static str> {
    let (mut needed, mut scope) = (vec![M::NAME], M::SCOPE);
    while !viewer.sees_everything() {
        match scope {
            Scope::Within { parent, .. } => {
                needed.push(parent.name);
                scope = parent.scope;
                continue;
            }
            Scope::Shared { .. } => needed.extend(SHARED_NEEDS),
            Scope::Own { .. } | Scope::OwnOr { .. } | Scope::Permission(_) | Scope::Internal(_) => {}
        }
        break;
    }
    needed
}

/// The keys of the things that `viewer` may see.
pub(super) fn visible(parent: &Parent, viewer: &Viewer) -> String {
    let of_each = of(parent, viewer, false)
        .into_iter()
        .map(|condition| match condition.keys {
            // Nothing is in what is no thing of the parent, so its table need not be asked.
            Some(keys) => format!("({keys})"),
            None => format!(
                "select t.{} from {} t where {}",
                parent.key, parent.table, condition.sql
            ),
        });
    of_each.collect::<Vec<_>>().join(" union ")
}

/// That `viewer` may see the one thing whose key is `thing`: asked of few things, it costs the same however many others it
/// may see.
pub(super) fn is_visible(parent: &Parent, viewer: &Viewer, thing: &str) -> String {
    let each = of(parent, viewer, false)
        .into_iter()
        .map(|condition| match condition.keys {
            Some(keys) => format!("{thing} in ({keys})"),
            None => format!(
                "exists (select from {} t where t.{} = {thing} and {})",
                parent.table, parent.key, condition.sql
            ),
        });
    each.collect::<Vec<_>>().join(" or ")
}

/// The read models that [`SHARED`] reads.
pub(super) const SHARED_NEEDS: [&str; 2] = ["sharing.party", "projects.project"];

/// The things that the user has a part in: by itself, as of an organization, or as of a project that has one. Each way is
/// a query of its own, which finds its rows by the party: with all of them in one condition, every share is read.
pub(super) const SHARED: &str = "\
    select s.resource from sharing_party s \
        where s.kind = 'user' and s.id = $1::uuid and not s.revoked \
        and (s.until is null or s.until > $3::timestamptz) \
    union all select s.resource from sharing_party s \
        where s.kind = 'organization' and s.id = $2::uuid and not s.revoked \
        and (s.until is null or s.until > $3::timestamptz) \
    union all select s.resource from sharing_party s join ( \
            select p.id from projects_project p where p.owner_id = $1::uuid \
            union select m.resource from sharing_party m join projects_project f on f.id = m.resource \
                where m.kind = 'user' and m.id = $1::uuid and not m.revoked \
                and (m.until is null or m.until > $3::timestamptz)) p on p.id = s.id \
        where s.kind = 'project' and not s.revoked \
        and (s.until is null or s.until > $3::timestamptz)";
