//! The directory: accounts, sessions, roles and who holds them, folded in memory in every process.
//!
//! Access decisions are made from it. It follows the log, and [`Directory::wait_for_position`] waits until it has
//! folded everything that was recorded when a request came; so a revocation works for the next request.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use domain::{
    access::{
        administrators::{Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
        role::{Role, RoleDefinition, RoleEvent},
    },
    aggregate::{Aggregate, DecodeError, decode},
    authz::{AccountState, Principal, UserPrincipal},
    event_store::{EventStore, Filter, Position, RecordedEvent, StoreError},
    id::{OrganizationId, SessionId, UserId},
    identity::{
        session::{Session, SessionEvent},
        user::{User, UserEvent},
    },
    rights::Holder,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PAGE: usize = 2_000;
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
struct Account {
    state: AccountState,
    verified: bool,
    organization: Option<OrganizationId>,
    roles: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct OpenSession {
    user: UserId,
    expires_at: OffsetDateTime,
}

/// What the directory has folded: accounts, open sessions, roles and their holders. Pure; the directory around
/// it follows the log.
#[derive(Default)]
pub struct Rights {
    accounts: HashMap<UserId, Account>,
    sessions: HashMap<SessionId, OpenSession>,
    /// The same by when they end by themselves, so that those that are over leave.
    ends: BTreeSet<(OffsetDateTime, SessionId)>,
    roles: HashMap<String, RoleDefinition>,
    administrators: BTreeSet<UserId>,
}

/// Why the directory cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds what this build cannot read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It has not caught up in time; nothing is decided on stale facts.
    #[error("access rights are not up to date yet, try again")]
    Behind,
}

/// See the module.
#[derive(Clone)]
pub struct Directory {
    state: Arc<RwLock<Rights>>,
    folded: watch::Receiver<Position>,
    store: Arc<dyn EventStore>,
}

fn filter() -> Filter {
    let categories = [
        User::CATEGORY,
        Session::CATEGORY,
        Role::CATEGORY,
        Assignments::CATEGORY,
        Administrators::CATEGORY,
    ];
    Filter {
        stream_prefixes: categories.iter().map(|category| format!("{category}-")).collect(),
        kind_prefixes: Vec::new(),
    }
}

impl Directory {
    /// Folds the whole log, then follows it until `stop` is cancelled.
    ///
    /// # Errors
    /// When the log cannot be read at the start.
    pub async fn start(store: Arc<dyn EventStore>, stop: CancellationToken) -> Result<Self, DirectoryError> {
        let (sender, folded) = watch::channel(Position::START);
        let directory = Self {
            state: Arc::default(),
            folded,
            store,
        };
        let head = directory.store.head().await?;
        let mut position = Position::START;
        while position < head {
            let page = directory.store.read_all(position, &filter(), PAGE).await?;
            directory.fold(&page.events)?;
            position = page.next;
        }
        sender.send_replace(position);
        let listener = directory.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.follow(position, sender) => {}
            }
        });
        Ok(directory)
    }

    async fn follow(&self, mut position: Position, sender: watch::Sender<Position>) {
        let mut subscription = self.store.subscribe(position, Filter::all());
        loop {
            let folded = match subscription.next().await {
                Ok(page) => self
                    .fold(&page.events)
                    .map(|()| page.next)
                    .map_err(DirectoryError::from),
                Err(error) => Err(error.into()),
            };
            match folded {
                Ok(next) => {
                    position = position.max(next);
                    sender.send_replace(position);
                }
                Err(error) => {
                    // Behind is safe: whoever asks waits, and is refused rather than answered from old facts.
                    tracing::error!(%error, after = position.0, "access directory paused, trying again");
                    tokio::time::sleep(RETRY).await;
                    subscription = self.store.subscribe(position, Filter::all());
                }
            }
        }
    }

    fn fold(&self, events: &[RecordedEvent]) -> Result<(), DecodeError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        events.iter().try_for_each(|event| state.fold(event))
    }

    /// Waits until everything is folded that any process had recorded when this was called.
    ///
    /// # Errors
    /// When the log does not answer or the directory stays behind.
    pub async fn at_head(&self, timeout: Duration) -> Result<(), DirectoryError> {
        let head = self.store.head().await?;
        self.wait_for_position(head, timeout).await
    }

    /// Waits until everything is folded that this process knows of; costs nothing when it is.
    ///
    /// # Errors
    /// When the directory stays behind.
    pub async fn at_known_head(&self, timeout: Duration) -> Result<(), DirectoryError> {
        self.wait_for_position(self.store.known_head(), timeout).await
    }

    /// Waits until `position` is folded.
    ///
    /// # Errors
    /// When the directory stays behind.
    pub async fn wait_for_position(
        &self,
        position: Position,
        timeout: Duration,
    ) -> Result<(), DirectoryError> {
        if *self.folded.borrow() >= position {
            return Ok(());
        }
        let mut folded = self.folded.clone();
        let reached = folded.wait_for(|reached| *reached >= position);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(DirectoryError::Behind),
        }
    }

    /// Changes whenever something was folded: for connections that outlive a request.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Position> {
        self.folded.clone()
    }

    /// Whether there is an administrator (SS-4).
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        !self.read().administrators.is_empty()
    }

    /// The principal of a session that is open at `now`.
    #[must_use]
    pub fn session(&self, session: SessionId, now: OffsetDateTime) -> Option<UserPrincipal> {
        let state = self.read();
        let open = state
            .sessions
            .get(&session)
            .filter(|open| open.expires_at > now)?;
        let principal = state.principal(open.user, Some(session))?;
        (principal.account != AccountState::Deactivated).then_some(principal)
    }

    /// The principal of an account, outside of any session.
    #[must_use]
    pub fn user(&self, user: UserId) -> Option<Principal> {
        self.read().user(user)
    }

    /// The definition of a role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<RoleDefinition> {
        self.read().roles.get(name).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Rights> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rights {
    fn principal(&self, user: UserId, session: Option<SessionId>) -> Option<UserPrincipal> {
        let account = self.accounts.get(&user)?;
        let holder = Holder {
            user,
            session,
            organization: account.organization,
            account: account.state,
            roles: &account.roles,
        };
        Some(holder.principal(|name| self.roles.get(name)))
    }

    /// The principal of an account, outside of any session.
    #[must_use]
    pub fn user(&self, user: UserId) -> Option<Principal> {
        self.principal(user, None)
            .map(|principal| Principal::User(Box::new(principal)))
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
    fn drop_sessions_over_at(&mut self, now: OffsetDateTime) {
        while let Some((end, session)) = self.ends.first().copied()
            && end <= now
        {
            self.ends.remove(&(end, session));
            self.sessions.remove(&session);
        }
    }

    /// How many sessions are known that are neither over nor ended.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    fn fold_user(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let Ok(user) = event.stream.key().parse::<UserId>() else {
            return Ok(());
        };
        let account = self.accounts.entry(user).or_default();
        match decode::<UserEvent>(event)? {
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
            UserEvent::PasswordSet { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::ErasureCompleted(_) => {}
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

#[cfg(test)]
mod tests {
    use domain::{
        aggregate::{Aggregate, encode},
        event_store::{Metadata, Position, RecordedEvent},
        id::{SessionId, UserId},
        identity::session::{Session, SessionEvent},
    };
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    use super::Rights;

    const HOUR: Duration = Duration::HOUR;

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
        let encoded = encode(Uuid::from_u128(u128::from(number)), &event).expect("encoded");
        RecordedEvent {
            id: encoded.id,
            stream: Session::stream(session),
            revision: 0,
            position: Position(number.into()),
            at,
            kind: encoded.kind,
            schema_version: encoded.schema_version,
            data: encoded.data,
            meta: Metadata::default(),
        }
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
