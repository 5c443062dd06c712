//! What an account may do: its state, and what its roles add up to (AC-1).
//!
//! One rule: writes, reads and time travel work it out here. It stands above the contexts because accounts and sessions
//! are in one and roles in another.

use std::collections::BTreeSet;

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
        let mut principal = UserPrincipal {
            user: self.user,
            session: self.session,
            organization: self.organization,
            account: self.account,
            roles: self.roles.clone(),
            permissions: BTreeSet::new(),
            may_grant: BTreeSet::new(),
            quotas: Quotas::NOTHING,
        };
        for role in self.roles.iter().filter_map(|name| definition(name)) {
            let permissions = role.permissions.iter();
            principal
                .permissions
                .extend(permissions.filter_map(|name| Action::named(name)));
            principal.may_grant.extend(role.may_grant.iter().cloned());
            principal.quotas = principal.quotas.or(role.quotas);
        }
        principal
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
