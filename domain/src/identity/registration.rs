//! New accounts: everybody's registration, and the first administrator's.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    organization::{self, Organization, OrganizationEvent},
    reservation::{Reservation, ReservationEvent, ReservationKey},
    user::{Profile, User, UserEvent, UserKind},
};
use crate::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
        builtin::{ADMIN, GUEST},
    },
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::UserId,
};

/// How long a verification token works (ID-3).
pub const VERIFICATION_LIFETIME: Duration = Duration::hours(24);

/// A new account's data, already checked for form.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its id.
    pub user: UserId,
    /// Unique name, lower case.
    pub username: String,
    /// Reservation of the username.
    pub username_reservation: ReservationKey,
    /// Address.
    pub email: String,
    /// Reservation of the e-mail address.
    pub email_reservation: ReservationKey,
    /// Verifier of the password.
    pub password: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Company, and the division in it.
    pub company: Option<String>,
    /// Division of the company.
    pub division: Option<String>,
    /// Department.
    pub department: Option<String>,
}

/// Why there is no new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefusal {
    /// ID-2: somebody has it.
    #[error("this username is taken")]
    UsernameTaken,
    /// ID-2: somebody has it.
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// ID-1: switched off.
    #[error("registration is switched off; ask an administrator for an account")]
    RegistrationClosed,
    /// SS-4: the first account is made by the set-up.
    #[error("the system has no administrator yet; create the first administrator before anything else")]
    SetupRequired,
    /// The set-up was done before.
    #[error("the system already has an administrator")]
    AlreadySetUp,
}

impl NewAccount {
    fn reads(&self, reads: &mut ReadSet) {
        reads
            .read::<Reservation>(&self.username_reservation)
            .read::<Reservation>(&self.email_reservation)
            .make::<User>(self.user)
            .make::<Assignments>(self.user)
            .read::<Administrators>(ADMINISTRATORS);
        if let Some(company) = &self.company {
            reads.read::<Organization>(organization::id_of(company, self.division.as_deref()));
        }
    }

    fn check(&self, loaded: &LoadedState) -> Result<(), RegisterRefusal> {
        let held: Reservation = loaded.get(&self.username_reservation);
        match held.holder {
            Some(_) => Err(RegisterRefusal::UsernameTaken),
            None => Ok(()),
        }
    }

    /// Whether another account has the address.
    fn is_email_taken(&self, loaded: &LoadedState) -> bool {
        let held: Reservation = loaded.get(&self.email_reservation);
        held.holder.is_some()
    }

    fn record(&self, loaded: &LoadedState, role: &str, reason: &str) -> NewEvents {
        let user = self.user;
        let mut changes = NewEvents::none();
        let mut organization = None;
        if let Some(company) = &self.company {
            let id = organization::id_of(company, self.division.as_deref());
            organization = Some(id);
            if !loaded.get::<Organization>(id).exists {
                let (company, division) = (company.trim().to_owned(), self.division.clone());
                let created = OrganizationEvent::Created {
                    organization: id,
                    company,
                    division,
                };
                changes = changes.and::<Organization>(id, &created);
            }
        }
        let profile = Profile {
            username: self.username.clone(),
            email: self.email.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            organization,
            department: self.department.clone(),
        };
        let taken = |scope: &str| ReservationEvent::Taken {
            user,
            scope: scope.to_owned(),
        };
        let granted = AssignmentEvent::Granted {
            user,
            role: role.to_owned(),
            reason: reason.to_owned(),
        };
        let changes = changes.and::<Reservation>(&self.username_reservation, &taken("username"));
        // As many events whether the address is free or taken, so that positions of the log do not tell.
        let email_reservation = match self.is_email_taken(loaded) {
            true => ReservationKey(format!("{}.{}", self.email_reservation, user.0.simple())),
            false => self.email_reservation.clone(),
        };
        changes
            .and::<Reservation>(&email_reservation, &taken("email"))
            .and::<User>(
                user,
                &UserEvent::Registered {
                    user,
                    account: UserKind::Local,
                    profile,
                },
            )
            .and::<User>(
                user,
                &UserEvent::PasswordSet {
                    verifier: self.password.clone(),
                },
            )
            .and::<Assignments>(user, &granted)
    }
}

/// Registers oneself (ID-1).
///
/// Usernames are public, so a taken one is refused. An address is not: one that another account has brings an account
/// all the same, which has the username and not the address (ID-2). It can never verify it, because the token is not sent,
/// and cannot log in by it. Who registers cannot tell the two apart, so cannot find out who has an account (SE-5).
#[derive(Clone, Debug)]
pub struct Register {
    /// The account.
    pub account: NewAccount,
    /// What the verification token is made of; see [`super::keys::IdentityKeys::verification_token`].
    pub verification_token: Uuid,
    /// SHA-256 of that token.
    pub verification_hash: String,
    /// Whether self-registration is on.
    pub open: bool,
}

impl Command for Register {
    type Refusal = RegisterRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        self.account.reads(reads);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("anybody may register while registration is on")
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<RegisterRefusal> {
        if loaded.get::<Administrators>(ADMINISTRATORS).members.is_empty() {
            return Err(RegisterRefusal::SetupRequired.into());
        }
        if !self.open {
            return Err(RegisterRefusal::RegistrationClosed.into());
        }
        self.account.check(loaded)?;
        let expires_at: OffsetDateTime = context.now + VERIFICATION_LIFETIME;
        let requested = UserEvent::VerificationRequested {
            token_hash: self.verification_hash.clone(),
            expires_at,
            token: Some(self.verification_token),
        };
        Ok(self
            .account
            .record(loaded, GUEST, "role of new accounts")
            .and::<User>(self.account.user, &requested))
    }
}

/// Makes the first administrator (SS-4). Works once; whoever holds the set-up token may do it.
#[derive(Clone, Debug)]
pub struct CreateFirstAdministrator {
    /// The account; its address counts as verified, because the operator typed it.
    pub account: NewAccount,
}

impl Command for CreateFirstAdministrator {
    type Refusal = RegisterRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        self.account.reads(reads);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::Open("guarded by the set-up token, and by there being no administrator")
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<RegisterRefusal> {
        if !loaded.get::<Administrators>(ADMINISTRATORS).members.is_empty() {
            return Err(RegisterRefusal::AlreadySetUp.into());
        }
        self.account.check(loaded)?;
        if self.account.is_email_taken(loaded) {
            return Err(RegisterRefusal::EmailTaken.into());
        }
        let user = self.account.user;
        let email = self.account.email.clone();
        Ok(self
            .account
            .record(loaded, ADMIN, "first administrator")
            .and::<User>(user, &UserEvent::EmailVerified { email })
            .and::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Joined { user }))
    }
}
