//! Sessions: one login and all refreshes that descend from it (SE-1, SE-2, SE-3).

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use time::OffsetDateTime;

use super::user::User;
use crate::{
    aggregate::{Aggregate, event},
    authz::{Action, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision, Refused},
    id::{SessionId, UserId},
};

/// A session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The owner.
    pub user: Option<UserId>,
    /// SHA-256 of the refresh token that is good now.
    pub refresh_hash: String,
    /// The newest tokens that were used up.
    pub used: UsedTokens,
    /// When it ends by itself.
    pub expires_at: Option<OffsetDateTime>,
    /// How often its account had been switched off when it was opened.
    pub deactivations: u32,
    /// Whether it was ended.
    pub revoked: bool,
}

/// The newest refresh tokens of a session that were used up, by which their reuse is noticed (SE-2). A token that is older
/// than all of them is refused too, but does not end the session: a month of refreshes every 15 minutes fits.
#[derive(Clone, Debug, Default)]
pub struct UsedTokens(VecDeque<u64>);

impl UsedTokens {
    /// How many are remembered.
    pub const MOST: usize = 4_096;

    fn add(&mut self, hash: &str) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(fingerprint(hash));
    }

    /// Whether a token with this SHA-256 is one of them.
    #[must_use]
    pub fn contains(&self, hash: &str) -> bool {
        self.0.contains(&fingerprint(hash))
    }
}

/// Eight bytes instead of 64 letters; it stays in memory.
fn fingerprint(hash: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash.hash(&mut hasher);
    hasher.finish()
}

/// Facts about a session.
#[event(context = "identity", subject = actor)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Somebody logged in.
    #[event(name = "SessionOpened", subject = user)]
    Opened {
        /// The session.
        session: SessionId,
        /// The user.
        user: UserId,
        /// SHA-256 of the first refresh token.
        #[plain(masked)]
        refresh_hash: String,
        /// When the session ends by itself.
        #[serde(with = "time::serde::rfc3339")]
        expires_at: OffsetDateTime,
        /// The client's name for itself.
        #[personal]
        device: Option<String>,
        /// How often the account had been switched off before.
        deactivations: u32,
    },
    /// The refresh token was exchanged for a new one.
    #[event(name = "SessionRefreshed")]
    Refreshed {
        /// SHA-256 of the new token.
        #[plain(masked)]
        refresh_hash: String,
    },
    /// A used refresh token was presented again: the session is no longer safe.
    #[event(name = "RefreshTokenReused", failure)]
    Reused {},
    /// The session was ended.
    #[event(name = "SessionRevoked")]
    Revoked {
        /// `logout`, `revoked` or `reuse`.
        #[plain]
        cause: String,
    },
}

impl Aggregate for Session {
    const CATEGORY: &'static str = "identity.session";
    type Event = SessionEvent;

    fn evolve(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Opened {
                user,
                refresh_hash,
                expires_at,
                deactivations,
                ..
            } => {
                self.deactivations = *deactivations;
                self.user = Some(*user);
                self.refresh_hash.clone_from(refresh_hash);
                self.expires_at = Some(*expires_at);
            }
            SessionEvent::Refreshed { refresh_hash } => {
                let used = std::mem::replace(&mut self.refresh_hash, refresh_hash.clone());
                self.used.add(&used);
            }
            SessionEvent::Reused {} => {}
            SessionEvent::Revoked { .. } => self.revoked = true,
        }
    }
}

impl Session {
    /// Whether it can be acted in at `now`: it was opened, is not ended or over, and its account has not been switched
    /// off since (ID-5).
    #[must_use]
    pub fn is_open(&self, account: &User, now: OffsetDateTime) -> bool {
        let switched_off = account.deactivated || self.deactivations != account.deactivations;
        !self.revoked && !switched_off && self.expires_at.is_some_and(|at| at > now)
    }
}

/// Opens a session for a user whose password was just proven. The same again is one session; an id that is taken
/// by another, or by one that was refreshed or ended since, opens nothing.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// The user.
    pub user: UserId,
    /// The verifier that the password was proven against: if it has changed since, nothing opens.
    pub proven: String,
    /// A verifier with today's parameters, when the old one was weaker (SE-4).
    pub rehashed: Option<String>,
    /// SHA-256 of the refresh token.
    pub refresh_hash: String,
    /// When the session ends by itself.
    pub expires_at: OffsetDateTime,
    /// The client's name for itself.
    pub device: Option<String>,
}

impl Command for OpenSession {
    type Refusal = super::login::LoginRefused;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<User>(self.user).make::<Session>(self.session);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("the password is the permission")
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<Self::Refusal> {
        let user: User = loaded.get(self.user);
        if user.deactivated || user.password.as_deref() != Some(self.proven.as_str()) {
            return Err(super::login::LoginRefused.into());
        }
        let known: Session = loaded.get(self.session);
        if known.user.is_some() {
            // The same request again, because its answer was lost; or an id that is taken, which opens nothing.
            let same = known.user == Some(self.user) && known.refresh_hash == self.refresh_hash;
            return match same && !known.revoked {
                true => Ok(NewEvents::none()),
                false => Err(super::login::LoginRefused.into()),
            };
        }
        let opened = SessionEvent::Opened {
            session: self.session,
            user: self.user,
            refresh_hash: self.refresh_hash.clone(),
            expires_at: self.expires_at,
            device: self.device.clone(),
            deactivations: user.deactivations,
        };
        let changes = NewEvents::record::<Session>(self.session, &opened);
        Ok(match &self.rehashed {
            Some(verifier) => changes.and::<User>(
                self.user,
                &super::user::UserEvent::PasswordSet {
                    verifier: verifier.clone(),
                },
            ),
            None => changes,
        })
    }
}

/// Why a refresh token is not exchanged. The caller hears one sentence for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshRefusal {
    /// Unknown, expired, or of an ended session.
    #[error("this refresh token is not valid; log in again")]
    Invalid,
    /// SE-2: used before; the session has been ended.
    #[error("this refresh token was used before; the session has been ended, log in again")]
    Reused,
}

/// Exchanges a refresh token for a new one (SE-2). The session's stream decides alone which of two
/// exchanges at once is the first.
#[derive(Clone, Debug)]
pub struct RefreshSession {
    /// The session; part of the token.
    pub session: SessionId,
    /// SHA-256 of the presented token.
    pub presented_hash: String,
    /// SHA-256 of the new token.
    pub next_hash: String,
}

impl Command for RefreshSession {
    type Refusal = RefreshRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Session>(self.session);
        if let Some(user) = loaded.get::<Session>(self.session).user {
            reads.read::<User>(user);
        }
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("the refresh token is the permission")
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<RefreshRefusal> {
        let session: Session = loaded.get(self.session);
        let Some(user) = session.user else {
            return Err(RefreshRefusal::Invalid.into());
        };
        if !session.is_open(&loaded.get(user), context.now) {
            return Err(RefreshRefusal::Invalid.into());
        }
        if session.used.contains(&self.presented_hash) {
            let record = NewEvents::record::<Session>(self.session, &SessionEvent::Reused {}).and::<Session>(
                self.session,
                &SessionEvent::Revoked {
                    cause: "reuse".to_owned(),
                },
            );
            return Err(Refused {
                reason: RefreshRefusal::Reused,
                record,
            });
        }
        if session.refresh_hash != self.presented_hash {
            return Err(RefreshRefusal::Invalid.into());
        }
        let refresh_hash = self.next_hash.clone();
        Ok(NewEvents::record::<Session>(
            self.session,
            &SessionEvent::Refreshed { refresh_hash },
        ))
    }
}

/// Nothing speaks against ending a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndRefusal {}

/// Ends a session: one's own by logout, or any of one's own by choice (SE-3).
#[derive(Clone, Debug)]
pub struct EndSession {
    /// The session.
    pub session: SessionId,
    /// `logout` or `revoked`.
    pub cause: &'static str,
}

impl Command for EndSession {
    type Refusal = EndRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<Session>(self.session);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        // An unverified account may end its own sessions too: they are part of its profile.
        let owner = loaded.get::<Session>(self.session).user;
        let mut resource = Resource::of(User::KIND, self.session, owner);
        if let Some(owner) = owner {
            resource.name = owner.to_string();
        }
        Requirement::one(Action::UsersUpdate, resource)
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<EndRefusal> {
        let session: Session = loaded.get(self.session);
        if session.revoked || session.user.is_none() {
            return Ok(NewEvents::none());
        }
        let event = SessionEvent::Revoked {
            cause: self.cause.to_owned(),
        };
        Ok(NewEvents::record::<Session>(self.session, &event))
    }
}

#[cfg(test)]
mod tests {
    use super::{Session, SessionEvent, UsedTokens};
    use crate::aggregate::Aggregate as _;

    /// FA10: however often a session is refreshed, it takes no more memory, and reuse of the newest tokens is noticed.
    #[test]
    fn used_tokens_are_bounded_and_the_newest_are_known() {
        let mut session = Session::default();
        let refreshes = 3 * UsedTokens::MOST;
        for number in 0..=refreshes {
            session.evolve(&SessionEvent::Refreshed {
                refresh_hash: number.to_string(),
            });
        }
        assert_eq!(session.used.0.len(), UsedTokens::MOST);
        assert!(session.used.contains(&(refreshes - 1).to_string()));
        assert!(session.used.contains(&(refreshes - UsedTokens::MOST).to_string()));
        assert!(!session.used.contains(&refreshes.to_string()), "the one in use");
    }
}
