//! What an account may do: its state, and what its roles add up to (AC-1).
//!
//! One rule: writes, reads and time travel work it out here. It stands above the contexts because accounts and sessions
//! are in one and roles in another.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use time::OffsetDateTime;

use crate::{
    access::{
        assignment::Assignments,
        ledger::QuotaLedger,
        role::{Role, RoleDefinition},
    },
    aggregate::LoadError,
    aggregate_cache::AggregateCache,
    authz::{AccountState, Action, Concealment, Denied, ReadRights, UserPrincipal},
    decision::{LoadedState, ReadSet},
    event_store::EventStore,
    id::{OrganizationId, SessionId, UserId},
    identity::{session::Session, user::User},
    loading::{self, Basis},
    quota::Quotas,
};

/// What an account holds, before its roles are added up.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// The account.
    pub user: UserId,
    /// The session it acts in.
    pub session: Option<SessionId>,
    /// Its organization.
    pub organization: Option<OrganizationId>,
    /// The state of the account.
    pub account: AccountState,
    /// Names of its roles.
    pub roles: &'a BTreeSet<String>,
}

impl Holder<'_> {
    /// Adds the roles up. A role that `definition` does not know gives nothing.
    #[must_use]
    pub fn principal<'d>(&self, definition: impl Fn(&str) -> Option<&'d RoleDefinition>) -> UserPrincipal {
        self.with(RoleSum::of(self.roles, definition))
    }

    /// With what its roles add up to.
    #[must_use]
    pub fn with(&self, sum: RoleSum) -> UserPrincipal {
        UserPrincipal {
            user: self.user,
            session: self.session,
            organization: self.organization,
            account: self.account,
            roles: sum.roles,
            permissions: sum.permissions,
            may_grant: sum.may_grant,
            quotas: sum.quotas,
        }
    }
}

/// What a set of roles adds up to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RoleSum {
    roles: Arc<BTreeSet<String>>,
    permissions: Arc<BTreeSet<Action>>,
    may_grant: Arc<BTreeSet<String>>,
    quotas: Quotas,
}

impl RoleSum {
    /// Adds `roles` up. A role that `definition` does not know gives nothing.
    #[must_use]
    pub fn of<'d>(roles: &BTreeSet<String>, definition: impl Fn(&str) -> Option<&'d RoleDefinition>) -> Self {
        let (mut permissions, mut may_grant) = (BTreeSet::new(), BTreeSet::new());
        let mut quotas = Quotas::NOTHING;
        for role in roles.iter().filter_map(|name| definition(name)) {
            let named = role.permissions.iter();
            permissions.extend(named.filter_map(|name| Action::named(name)));
            may_grant.extend(role.may_grant.iter().cloned());
            quotas = quotas.or(role.quotas);
        }
        Self {
            roles: Arc::new(roles.clone()),
            permissions: Arc::new(permissions),
            may_grant: Arc::new(may_grant),
            quotas,
        }
    }
}

/// Sets of roles whose sums are remembered at most. Few are in use at the same time: accounts hold the same ones.
const SUMS: usize = 4_096;

/// What sets of roles add up to, each worked out once while the definitions of roles stay the same.
#[derive(Debug, Default)]
pub struct RoleSums(Mutex<HashMap<BTreeSet<String>, RoleSum>>);

impl RoleSums {
    /// What `roles` add up to by `definition`, which has to say the same until [`RoleSums::clear`].
    #[must_use]
    pub fn of<'d>(
        &self,
        roles: &BTreeSet<String>,
        definition: impl Fn(&str) -> Option<&'d RoleDefinition>,
    ) -> RoleSum {
        // No step under the lock can panic half way.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = known.get(roles) {
            return sum.clone();
        }
        let sum = RoleSum::of(roles, definition);
        if known.len() >= SUMS {
            known.clear();
        }
        known.insert(roles.clone(), sum.clone());
        sum
    }

    /// Forgets all, because a role has been defined anew.
    pub fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Rights as the streams of accounts, sessions, assignments and roles give them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRights;

impl ReadRights for LogRights {
    fn reads(&self, known: &UserPrincipal, loaded: &LoadedState, reads: &mut ReadSet) {
        if let Some(session) = known.session {
            reads.read::<Session>(session);
        }
        read_account(known.user, loaded, reads);
    }

    fn current(
        &self,
        known: &UserPrincipal,
        loaded: &LoadedState,
        now: OffsetDateTime,
    ) -> Result<UserPrincipal, Denied> {
        if let Some(id) = known.session {
            let account = loaded.peek::<User>(known.user);
            let session = loaded.peek::<Session>(id);
            let open = session.zip(account).is_some_and(|(session, account)| {
                session.user == Some(known.user) && session.is_open(account, now)
            });
            if !open {
                return Err(Denied {
                    action: Action::UsersRead,
                    resource: id.to_string(),
                    rule: "session_ended",
                    reason: "the session has ended; log in again".to_owned(),
                    concealment: Concealment::Unauthenticated,
                });
            }
        }
        Ok(UserPrincipal {
            session: known.session,
            ..of_account(known.user, loaded)
        })
    }
}

/// Declares the streams that the rights of an account come from, apart from its sessions.
pub fn read_account(user: UserId, loaded: &LoadedState, reads: &mut ReadSet) {
    reads.read::<User>(user).read::<Assignments>(user);
    if let Some(assignments) = loaded.peek::<Assignments>(user) {
        for role in &assignments.roles {
            reads.read::<Role>(role);
        }
    }
}

/// Declares what is counted against the limits of `owner`, and the streams that the limits come from.
pub fn read_quotas(owner: UserId, loaded: &LoadedState, reads: &mut ReadSet) {
    reads.read::<QuotaLedger>(owner);
    read_account(owner, loaded, reads);
}

/// The limits of `owner`, from what [`read_quotas`] declared: what is taken from the ledger of `owner` is held against
/// these, whoever acts (QU-1). Without roles they are [`Quotas::NOTHING`]; the state of the account changes nothing.
#[must_use]
pub fn quotas(owner: UserId, loaded: &LoadedState) -> Quotas {
    let roles = loaded.peek::<Assignments>(owner).map(|held| held.roles.iter());
    let definitions = roles.into_iter().flatten().filter_map(|name| {
        let role = loaded.peek::<Role>(name)?;
        role.definition.as_ref()
    });
    definitions.fold(Quotas::NOTHING, |sum, role| sum.or(role.quotas))
}

/// What `owner` has taken, and its limits, as of now; `None` when there is no such account. For those who only look: a
/// command declares what it reads. Of a long history only what is not remembered is loaded.
///
/// # Errors
/// See [`LoadError`].
pub async fn load_quotas(
    store: &dyn EventStore,
    aggregates: &AggregateCache,
    owner: UserId,
) -> Result<Option<(QuotaLedger, Quotas)>, LoadError> {
    let nothing = (Basis::Log, &LoadedState::default());
    let loaded = loading::load(store, aggregates, nothing, |loaded, reads| {
        read_quotas(owner, loaded, reads);
    })
    .await?;
    let known = loaded.get::<User>(owner).profile.is_some();
    Ok(known.then(|| (loaded.get(owner), quotas(owner, &loaded))))
}

/// What each of `owners` has taken, as of now; nothing of one who is not known. For those who only look. However many there
/// are, the log is asked once, and only for what is not remembered.
///
/// # Errors
/// See [`LoadError`].
pub async fn load_ledgers(
    store: &dyn EventStore,
    aggregates: &AggregateCache,
    owners: &[UserId],
) -> Result<BTreeMap<UserId, QuotaLedger>, LoadError> {
    let nothing = (Basis::Log, &LoadedState::default());
    let loaded = loading::load(store, aggregates, nothing, |_, reads| {
        for owner in owners {
            reads.read::<QuotaLedger>(*owner);
        }
    })
    .await?;
    let ledgers = owners.iter().map(|owner| (*owner, loaded.get(*owner)));
    Ok(ledgers.collect())
}

/// The rights of an account outside of any session, from what [`read_account`] declared.
#[must_use]
pub fn of_account(user: UserId, loaded: &LoadedState) -> UserPrincipal {
    let (account, none) = (loaded.peek::<User>(user), BTreeSet::new());
    let profile = account.and_then(|account| account.profile.as_ref());
    let assignments = loaded.peek::<Assignments>(user);
    let holder = Holder {
        user,
        session: None,
        organization: profile.and_then(|profile| profile.organization),
        account: account.map(User::state).unwrap_or_default(),
        roles: assignments.map_or(&none, |assignments| &assignments.roles),
    };
    holder.principal(|name| loaded.peek::<Role>(name)?.definition.as_ref())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{RoleSums, SUMS};
    use crate::{access::role::RoleDefinition, authz::Action, quota::Quotas};

    fn role(name: &str, permission: Action) -> RoleDefinition {
        RoleDefinition {
            name: name.to_owned(),
            description: String::new(),
            permissions: [permission.name().to_owned()].into(),
            quotas: Quotas::NOTHING,
            may_grant: BTreeSet::new(),
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// FL11: who asks again, and who holds the same, is told what was worked out once.
    #[test]
    fn a_set_of_roles_is_added_up_once_until_a_role_is_defined_anew() {
        let mut sums = RoleSums::default();
        let (reader, writer) = (role("r", Action::ModelsRead), role("w", Action::ModelsUpdate));
        let defined = |name: &str| [&reader, &writer].into_iter().find(|role| role.name == name);
        let both = set(&["r", "unknown", "w"]);
        let first = sums.of(&both, defined);
        assert_eq!(
            *first.permissions,
            BTreeSet::from([Action::ModelsRead, Action::ModelsUpdate])
        );
        assert_eq!(*first.roles, both);
        let again = sums.of(&both, |_| panic!("it is known"));
        assert!(std::sync::Arc::ptr_eq(&first.permissions, &again.permissions));
        assert_eq!(
            *sums.of(&set(&["r"]), defined).permissions,
            [Action::ModelsRead].into()
        );
        sums.clear();
        let changed = role("r", Action::AuditRead);
        let anew = sums.of(&both, |name| (name == "r").then_some(&changed));
        assert_eq!(*anew.permissions, BTreeSet::from([Action::AuditRead]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let sums = RoleSums::default();
        for number in 0..=SUMS {
            let _sum = sums.of(&set(&[&number.to_string()]), |_| None);
        }
        assert!(sums.0.lock().expect("unpoisoned").len() <= SUMS);
    }
}
