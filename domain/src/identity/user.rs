//! Accounts of people and programs.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    aggregate::{Aggregate, event},
    authz::{AccountState, Requirement},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{OrganizationId, UserId},
    payload::Leaves,
    personal::ERASED,
};

/// The three kinds of account (ID-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// Signs in with a password.
    Local,
    /// Bound to an issuer and subject; has no password.
    External,
    /// Does not sign in; acts by keys.
    Service,
}

/// What an account says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct Profile {
    /// Unique name, lower case.
    #[personal]
    pub username: String,
    /// Address, as written.
    #[personal]
    pub email: String,
    /// First name.
    #[personal]
    pub first_name: Option<String>,
    /// Last name.
    #[personal]
    pub last_name: Option<String>,
    /// Organization found or created by company and division.
    pub organization: Option<OrganizationId>,
    /// Department inside of it.
    #[personal]
    pub department: Option<String>,
}

impl Profile {
    /// The same account, without what names the person.
    fn erased(self) -> Self {
        Self {
            username: ERASED.to_owned(),
            email: ERASED.to_owned(),
            first_name: None,
            last_name: None,
            department: None,
            organization: self.organization,
        }
    }
}

/// An account.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Set once registered.
    pub profile: Option<Profile>,
    /// Whether the address is proven.
    pub verified: bool,
    /// Whether it may act at all.
    pub deactivated: bool,
    /// How often it was switched off: sessions from before stay ended when it is switched on again.
    pub deactivations: u32,
    /// Password verifier, a PHC string of Argon2id keyed with the server's pepper.
    pub password: Option<String>,
    /// Hash and end of life of the open verification token.
    pub verification: Option<(String, OffsetDateTime)>,
    /// Whether the person was erased; never undone.
    pub erased: bool,
    /// Whether the erasure is completed.
    pub erasure_completed: bool,
}

/// Facts about an account.
#[event(context = "identity", subject = stream)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// The account came to be.
    #[event(name = "UserRegistered", subject = user)]
    Registered {
        /// The account.
        user: UserId,
        /// Local, external or service.
        account: UserKind,
        /// What it says of itself.
        profile: Profile,
    },
    /// A password was set or changed.
    PasswordSet {
        /// Its verifier; see [`User::password`].
        #[personal(masked)]
        verifier: String,
    },
    /// A verification token is to be sent.
    VerificationRequested {
        /// SHA-256 of the token.
        #[plain(masked)]
        token_hash: String,
        /// When it stops working.
        #[serde(with = "time::serde::rfc3339")]
        expires_at: OffsetDateTime,
        /// What the token is made of, with the account and the key of the installation
        /// ([`crate::identity::keys::IdentityKeys`]); `None` where an earlier build made it at random and mailed it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Uuid>,
    },
    /// The address was proven.
    EmailVerified {
        /// The address.
        #[personal]
        email: String,
    },
    /// The account was switched off.
    #[event(name = "UserDeactivated")]
    Deactivated {
        /// The reason.
        #[personal]
        reason: String,
    },
    /// The account was switched on again.
    #[event(name = "UserReactivated")]
    Reactivated {
        /// The reason.
        #[personal]
        reason: String,
    },
    /// The person was erased: the account is off for good, and the key of its personal data is to be
    /// destroyed.
    #[event(name = "PersonErased")]
    Erased {
        /// On what ground.
        reason: ErasureReason,
    },
    /// The receipt of an erasure: the key is destroyed, and no read model shows what it sealed.
    ErasureCompleted(ErasureReceipt),
}

/// On what ground a person is erased. A code, because free text about a person would be personal again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
#[serde(rename_all = "snake_case")]
pub enum ErasureReason {
    /// The person asked for it.
    Requested,
    /// The time for which the data may be kept is over.
    RetentionEnded,
    /// A law or a court orders it.
    LegalObligation,
}

/// What was done to erase a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct ErasureReceipt {
    /// Which key wrapped the person's key; `None` when the person never had one, because nothing was sealed.
    #[plain]
    pub key_id: Option<String>,
    /// When the person's key was made; `None` as before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub key_made_at: Option<OffsetDateTime>,
    /// When it was destroyed.
    #[serde(with = "time::serde::rfc3339")]
    pub destroyed_at: OffsetDateTime,
    /// The read models that were rebuilt after that, by name.
    #[plain]
    pub rebuilt: Vec<String>,
}

impl Aggregate for User {
    const CATEGORY: &'static str = "identity.user";
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::Registered { profile, .. } => self.profile = Some(profile.clone()),
            UserEvent::PasswordSet { verifier } => self.password = Some(verifier.clone()),
            UserEvent::VerificationRequested {
                token_hash,
                expires_at,
                ..
            } => {
                self.verification = Some((token_hash.clone(), *expires_at));
            }
            UserEvent::EmailVerified { .. } => {
                self.verified = true;
                self.verification = None;
            }
            UserEvent::Deactivated { .. } => {
                self.deactivated = true;
                self.deactivations += 1;
            }
            // Nothing was recorded that would switch an erased account on; if it were, it stays off.
            UserEvent::Reactivated { .. } => self.deactivated = self.erased,
            UserEvent::Erased { .. } => {
                self.profile = self.profile.take().map(Profile::erased);
                self.erased = true;
                self.deactivated = true;
                self.deactivations += 1;
                self.password = None;
                self.verification = None;
            }
            UserEvent::ErasureCompleted(_) => self.erasure_completed = true,
        }
    }
}

impl User {
    /// Their kind, as the permissions name it.
    pub const KIND: &'static str = "users";

    /// Whether it is registered and not erased.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.profile.is_some() && !self.erased
    }

    /// How far the account may act.
    #[must_use]
    pub fn state(&self) -> AccountState {
        match (self.deactivated, self.verified) {
            (true, _) => AccountState::Deactivated,
            (false, false) => AccountState::Unverified,
            (false, true) => AccountState::Active,
        }
    }
}

/// Why an address is not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyRefusal {
    /// Wrong, used, replaced by a newer one, or of another account: never said which.
    #[error("this verification token is not valid; ask for a new one")]
    InvalidToken,
    /// Older than a day.
    #[error("this verification token has expired; ask for a new one")]
    Expired,
}

/// Proves the address by the token that was sent to it (ID-3).
#[derive(Clone, Debug)]
pub struct VerifyEmail {
    /// The account; part of the token.
    pub user: UserId,
    /// SHA-256 of the presented token.
    pub token_hash: String,
}

impl Command for VerifyEmail {
    type Refusal = VerifyRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<User>(self.user);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("whoever holds the token has read the mail")
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<VerifyRefusal> {
        let user: User = loaded.get(self.user);
        match (&user.profile, &user.verification) {
            (Some(profile), Some((hash, expires_at))) if *hash == self.token_hash => {
                if *expires_at <= context.now {
                    return Err(VerifyRefusal::Expired.into());
                }
                let email = profile.email.clone();
                Ok(NewEvents::record::<User>(
                    self.user,
                    &UserEvent::EmailVerified { email },
                ))
            }
            _ => Err(VerifyRefusal::InvalidToken.into()),
        }
    }
}
