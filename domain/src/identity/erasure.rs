//! Erasing a person (AU-7): the account off for good, names free again, roles gone, and the receipt.
//!
//! The rule: the decision only records that the person is to be erased. The key of the personal data is
//! destroyed afterwards by a part of the running system, which may be repeated at any point and ends with
//! [`CompleteErasure`].

use super::{
    reservation::{Reservation, ReservationEvent, ReservationKey},
    user::{ErasureReason, ErasureReceipt, User, UserEvent},
};
use crate::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::{AssignmentEvent, Assignments},
        builtin::ADMIN,
    },
    administrators,
    authz::{Action, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::UserId,
};

/// Why a person is not erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EraseRefusal {
    /// Nobody can lock themselves out.
    #[error("you cannot erase yourself; ask another administrator")]
    OwnAccount,
    /// The last active administrator stays.
    #[error("this is the last active administrator; make somebody else an administrator first")]
    LastAdministrator,
}

/// Erases a person. Needs `users.delete`. Repeating it succeeds and records nothing.
#[derive(Clone, Debug)]
pub struct ErasePerson {
    /// The user.
    pub user: UserId,
    /// On what ground.
    pub reason: ErasureReason,
    /// Reservation of the username. A reservation that the person does not hold is left alone.
    pub username_reservation: ReservationKey,
    /// Reservation of the e-mail address, likewise.
    pub email_reservation: ReservationKey,
}

impl ErasePerson {
    fn release(&self, loaded: &LoadedState, changes: NewEvents) -> NewEvents {
        let reservations = [
            ("username", &self.username_reservation),
            ("email", &self.email_reservation),
        ];
        let held = reservations
            .into_iter()
            .filter(|(_, key)| loaded.get::<Reservation>(*key).holder == Some(self.user));
        held.fold(changes, |changes, (scope, key)| {
            let released = ReservationEvent::Released {
                user: self.user,
                scope: scope.to_owned(),
            };
            changes.and::<Reservation>(key, &released)
        })
    }

    fn remove_roles(&self, assignments: Assignments, changes: NewEvents) -> NewEvents {
        let user = self.user;
        assignments.roles.into_iter().fold(changes, |changes, role| {
            let administrator = role == ADMIN;
            let removed = AssignmentEvent::Removed {
                user,
                role,
                reason: "the person was erased".to_owned(),
            };
            let changes = changes.and::<Assignments>(user, &removed);
            match administrator {
                true => changes.and::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Left { user }),
                false => changes,
            }
        })
    }
}

impl Command for ErasePerson {
    type Refusal = EraseRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads
            .read::<User>(self.user)
            .read::<Assignments>(self.user)
            .read::<Reservation>(&self.username_reservation)
            .read::<Reservation>(&self.email_reservation);
        administrators::read_witness(loaded, self.user, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let exists = loaded.get::<User>(self.user).profile.is_some();
        let resource = Resource::unowned(User::KIND, self.user, exists);
        Requirement::one(Action::UsersDelete, resource)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<EraseRefusal> {
        if loaded.get::<User>(self.user).erased {
            return Ok(NewEvents::none());
        }
        if context.principal.user() == Some(self.user) {
            return Err(EraseRefusal::OwnAccount.into());
        }
        if administrators::is_last(loaded, self.user) {
            return Err(EraseRefusal::LastAdministrator.into());
        }
        let reason = self.reason;
        let changes = NewEvents::record::<User>(self.user, &UserEvent::Erased { reason });
        let changes = self.release(loaded, changes);
        Ok(self.remove_roles(loaded.get(self.user), changes))
    }
}

/// Why there is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody decided to erase this person")]
pub struct NotErased;

/// Records the receipt. Done by the system once nothing shows the person's data. Repeating it records nothing.
#[derive(Clone, Debug)]
pub struct CompleteErasure {
    /// Who was erased.
    pub user: UserId,
    /// What was done.
    pub receipt: ErasureReceipt,
}

impl Command for CompleteErasure {
    type Refusal = NotErased;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        reads.read::<User>(self.user);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::System
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<NotErased> {
        let user: User = loaded.get(self.user);
        match (user.erased, user.erasure_completed) {
            (false, _) => Err(NotErased.into()),
            (true, true) => Ok(NewEvents::none()),
            (true, false) => Ok(NewEvents::record::<User>(
                self.user,
                &UserEvent::ErasureCompleted(self.receipt.clone()),
            )),
        }
    }
}
