//! What the directory has folded: accounts, open sessions, roles and their holders.
//!
//! One rule: it is pure, and a session that is over leaves it by the time of the log.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use domain::{
    access::{
        administrators::{Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
        role::{Role, RoleDefinition, RoleEvent},
    },
    aggregate::{Aggregate, DecodeError, decode},
    authz::{AccountState, Principal, UserPrincipal},
    event_store::RecordedEvent,
    id::{OrganizationId, SessionId, UserId},
    identity::{
        session::{Session, SessionEvent},
        user::{User, UserEvent},
    },
    rights::{Holder, RoleSums},
};
use time::OffsetDateTime;

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) state: AccountState,
    pub(super) verified: bool,
    pub(super) organization: Option<OrganizationId>,
    pub(super) roles: BTreeSet<String>,
    /// What its password is hashed with: the beginning of a PHC string.
    pub(super) hashed_with: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSession {
    pub(super) user: UserId,
    pub(super) expires_at: OffsetDateTime,
}

/// What the directory has folded: accounts, open sessions, roles and their holders. Pure; the directory around
/// it follows the log.
#[derive(Default)]
pub struct Rights {
    pub(super) accounts: HashMap<UserId, Account>,
    pub(super) sessions: HashMap<SessionId, OpenSession>,
    /// The same by when they end by themselves, so that those that are over leave.
    pub(super) ends: BTreeSet<(OffsetDateTime, SessionId)>,
    pub(super) roles: HashMap<String, RoleDefinition>,
    /// What sets of roles add up to by these definitions.
    pub(super) sums: RoleSums,
    pub(super) administrators: BTreeSet<UserId>,
    /// How many accounts' passwords are hashed with what.
    pub(super) hashed_with: BTreeMap<Arc<str>, u64>,
}

impl Rights {
    /// The version of the fold and of the form that it is kept in. Whoever changes what events make of it raises this, or
    /// starts go on from what the fold before made: `schema/read-models.json` holds it to that.
    pub const VERSION: i32 = 1;

    fn principal(&self, user: UserId, session: Option<SessionId>) -> Option<UserPrincipal> {
        let account = self.accounts.get(&user)?;
        let holder = Holder {
            user,
            session,
            organization: account.organization,
            account: account.state,
            roles: &account.roles,
        };
        let sum = self.sums.of(&account.roles, |name| self.roles.get(name));
        Some(holder.with(sum))
    }

    /// The principal of an account, outside of any session.
    #[must_use]
    pub fn user(&self, user: UserId) -> Option<Principal> {
        self.principal(user, None)
            .map(|principal| Principal::User(Box::new(principal)))
    }

    /// The principal of a session that is open at `now`.
    #[must_use]
    pub fn session(&self, session: SessionId, now: OffsetDateTime) -> Option<UserPrincipal> {
        let open = self.sessions.get(&session).filter(|open| open.expires_at > now)?;
        let principal = self.principal(open.user, Some(session))?;
        (principal.account != AccountState::Deactivated).then_some(principal)
    }

    /// The definition of a role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&RoleDefinition> {
        self.roles.get(name)
    }

    /// Whether there is an administrator (SS-4).
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        !self.administrators.is_empty()
    }

    /// Applies one recorded event; those of other contexts change nothing. Each must come once, in order.
    ///
    /// # Errors
    /// When this build cannot read the event.
    pub fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        self.drop_sessions_over_at(event.at);
        match event.stream.category() {
            User::CATEGORY => self.fold_user(event),
            Session::CATEGORY => self.fold_session(event),
            Role::CATEGORY => {
                let RoleEvent::Defined(definition) = decode(event)?;
                self.roles.insert(definition.name.clone(), definition);
                self.sums.clear();
                Ok(())
            }
            Assignments::CATEGORY => {
                match decode(event)? {
                    AssignmentEvent::Granted { user, role, .. } => {
                        self.accounts.entry(user).or_default().roles.insert(role);
                    }
                    AssignmentEvent::Removed { user, role, .. } => {
                        self.accounts.entry(user).or_default().roles.remove(&role);
                    }
                }
                Ok(())
            }
            Administrators::CATEGORY => {
                match decode(event)? {
                    AdministratorsEvent::Joined { user } => self.administrators.insert(user),
                    AdministratorsEvent::Left { user } => self.administrators.remove(&user),
                };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Forgets the sessions that are over, by the time of the log: each costs one step, once.
    pub(super) fn drop_sessions_over_at(&mut self, now: OffsetDateTime) {
        while let Some((end, session)) = self.ends.first().copied()
            && end <= now
        {
            self.ends.remove(&(end, session));
            self.sessions.remove(&session);
        }
    }

    /// Accounts and open sessions: what it grows with.
    #[must_use]
    pub fn size(&self) -> usize {
        self.accounts.len() + self.sessions.len()
    }

    /// How many sessions are known that are neither over nor ended.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Parameters of passwords, each as often as accounts have them, chosen by `pick`.
    #[must_use]
    pub fn password_parameters(&self, pick: u64) -> Option<&str> {
        let all: u64 = self.hashed_with.values().sum();
        let mut left = pick.checked_rem(all)?;
        let chosen = self.hashed_with.iter().find(|(_, accounts)| {
            let found = left < **accounts;
            left = left.saturating_sub(**accounts);
            found
        });
        chosen.map(|(parameters, _)| parameters.as_ref())
    }

    fn fold_user(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let Ok(user) = event.stream.key().parse::<UserId>() else {
            return Ok(());
        };
        let account = self.accounts.entry(user).or_default();
        let event = decode::<UserEvent>(event)?;
        if let UserEvent::Erased { .. } = event {
            // As after the key is destroyed, when the log does not tell it any more.
            release(&mut self.hashed_with, account.hashed_with.take());
        }
        match event {
            UserEvent::Registered { profile, .. } => account.organization = profile.organization,
            UserEvent::EmailVerified { .. } => {
                account.verified = true;
                if account.state == AccountState::Unverified {
                    account.state = AccountState::Active;
                }
            }
            UserEvent::Deactivated { .. } | UserEvent::Erased { .. } => {
                account.state = AccountState::Deactivated;
                // They stay ended when the account is switched on again (ID-5).
                let ends = &mut self.ends;
                self.sessions.retain(|session, open| {
                    let other = open.user != user;
                    if !other {
                        ends.remove(&(open.expires_at, *session));
                    }
                    other
                });
            }
            UserEvent::Reactivated { .. } => {
                account.state = if account.verified {
                    AccountState::Active
                } else {
                    AccountState::Unverified
                };
            }
            UserEvent::PasswordSet { verifier } => {
                let before = account.hashed_with.take();
                account.hashed_with = count(&mut self.hashed_with, before, &verifier);
            }
            UserEvent::VerificationRequested { .. } | UserEvent::ErasureCompleted(_) => {}
        }
        Ok(())
    }

    fn fold_session(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        match decode::<SessionEvent>(event)? {
            SessionEvent::Opened {
                session,
                user,
                expires_at,
                ..
            } => {
                self.sessions.insert(session, OpenSession { user, expires_at });
                self.ends.insert((expires_at, session));
            }
            SessionEvent::Revoked { .. } => {
                if let Ok(session) = event.stream.key().parse::<SessionId>()
                    && let Some(open) = self.sessions.remove(&session)
                {
                    self.ends.remove(&(open.expires_at, session));
                }
            }
            SessionEvent::Refreshed { .. } | SessionEvent::Reused {} => {}
        }
        Ok(())
    }
}

/// No longer counts an account whose password was hashed with what `before` says.
fn release(hashed_with: &mut BTreeMap<Arc<str>, u64>, before: Option<Arc<str>>) {
    if let Some(before) = before
        && let Some(accounts) = hashed_with.get_mut(&before)
    {
        *accounts -= 1;
        if *accounts == 0 {
            hashed_with.remove(&before);
        }
    }
}

/// Counts an account whose password is now hashed with what `verifier` says, and no longer with what `before` says.
fn count(
    hashed_with: &mut BTreeMap<Arc<str>, u64>,
    before: Option<Arc<str>>,
    verifier: &str,
) -> Option<Arc<str>> {
    release(hashed_with, before);
    // `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`
    let parameters = verifier.rsplitn(3, '$').nth(2)?;
    let known = hashed_with
        .get_key_value(parameters)
        .map(|(known, _)| Arc::clone(known));
    let parameters = known.unwrap_or_else(|| Arc::from(parameters));
    *hashed_with.entry(Arc::clone(&parameters)).or_default() += 1;
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use domain::{
        aggregate::{Aggregate, Event, encode},
        event_store::{Metadata, Position, RecordedEvent, StreamId},
        id::{SessionId, UserId},
        identity::{
            session::{Session, SessionEvent},
            user::{ErasureReason, User, UserEvent},
        },
    };
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    use super::Rights;

    const HOUR: Duration = Duration::HOUR;

    fn recorded<E: Event>(number: u32, stream: StreamId, at: OffsetDateTime, event: &E) -> RecordedEvent {
        let encoded = encode(Uuid::from_u128(u128::from(number)), event).expect("encoded");
        RecordedEvent {
            id: encoded.id,
            stream,
            revision: 0,
            position: Position(number.into()),
            at,
            kind: encoded.kind,
            schema_version: encoded.schema_version,
            data: encoded.data,
            meta: Metadata::default(),
        }
    }

    fn opened(number: u32, user: UserId, at: OffsetDateTime) -> RecordedEvent {
        let session = SessionId(Uuid::from_u128(u128::from(number)));
        let event = SessionEvent::Opened {
            session,
            user,
            refresh_hash: "hash".to_owned(),
            expires_at: at + HOUR,
            device: None,
            deactivations: 0,
        };
        recorded(number, Session::stream(session), at, &event)
    }

    /// As when the log is folded after the key is destroyed, which the verifier is sealed under.
    #[test]
    fn an_erased_account_is_not_counted_by_what_its_password_was_hashed_with() {
        let (mut rights, user) = (Rights::default(), UserId(Uuid::from_u128(7)));
        let at = OffsetDateTime::UNIX_EPOCH;
        let verifier = "$argon2id$v=19$m=8,t=2,p=1$c2FsdA$aGFzaA".to_owned();
        let events = [
            UserEvent::PasswordSet { verifier },
            UserEvent::Erased {
                reason: ErasureReason::Requested,
            },
        ];
        let mut counted = Vec::new();
        for (number, event) in (1..).zip(&events) {
            let event = recorded(number, User::stream(user), at, event);
            rights.fold(&event).expect("folded");
            counted.push(rights.password_parameters(0).map(str::to_owned));
        }
        assert_eq!(counted, [Some("$argon2id$v=19$m=8,t=2,p=1".to_owned()), None]);
    }

    /// FA10: a year of log-ins, one a minute, leaves the sessions of the last hour.
    #[test]
    fn sessions_that_are_over_leave_the_directory() {
        let (mut rights, user) = (Rights::default(), UserId(Uuid::from_u128(7)));
        let start = OffsetDateTime::UNIX_EPOCH;
        for number in 1..=10_000_u32 {
            let at = start + Duration::minutes(number.into());
            rights.fold(&opened(number, user, at)).expect("folded");
            assert!(rights.open_sessions() <= 60, "{}", rights.open_sessions());
        }
        assert_eq!(rights.open_sessions(), rights.ends.len());
    }
}
