//! Erasing a person (AU-7): the account off for good, names free again, roles gone, and the receipt.
//!
//! The rule: the decision only records that the person is to be erased. The key of the personal data is
//! destroyed afterwards by a part of the running system, which may be repeated at any point and ends with
//! [`CompleteErasure`].

use super::{
    claim::{Claim, ClaimEvent, ClaimKey},
    user::{ErasureReason, ErasureReceipt, User, UserEvent},
};
use crate::{
    access::{
        assignment::{ADMINISTRATORS, Administrators, AdministratorsEvent, AssignmentEvent, Assignments},
        builtin::ADMIN,
    },
    administrators,
    authz::{Action, Requirement, Resource},
    execute::{Command, Context, Decision},
    id::UserId,
    world::{Changes, Reads, World},
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
    /// Who.
    pub user: UserId,
    /// On what ground.
    pub reason: ErasureReason,
    /// Claim of the username. A claim that the person does not hold is left alone.
    pub username_claim: ClaimKey,
    /// Claim of the address, as before.
    pub email_claim: ClaimKey,
}

impl ErasePerson {
    fn release(&self, world: &World, changes: Changes) -> Changes {
        let claims = [("username", &self.username_claim), ("email", &self.email_claim)];
        let held = claims
            .into_iter()
            .filter(|(_, key)| world.get::<Claim>(*key).holder == Some(self.user));
        held.fold(changes, |changes, (scope, key)| {
            let released = ClaimEvent::Released {
                user: self.user,
                scope: scope.to_owned(),
            };
            changes.and::<Claim>(key, &released)
        })
    }

    fn remove_roles(&self, assignments: Assignments, changes: Changes) -> Changes {
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

    fn reads(&self, world: &World, reads: &mut Reads) {
        reads
            .read::<User>(self.user)
            .read::<Assignments>(self.user)
            .read::<Claim>(&self.username_claim)
            .read::<Claim>(&self.email_claim);
        administrators::read_witness(world, self.user, reads);
    }

    fn requires(&self, world: &World) -> Requirement {
        let exists = world.get::<User>(self.user).profile.is_some();
        let resource = Resource {
            exists,
            ..Resource::kind(&self.user.to_string())
        };
        Requirement::one(Action::UsersDelete, resource)
    }

    fn decide(&self, world: &World, context: &Context<'_>) -> Decision<EraseRefusal> {
        if world.get::<User>(self.user).erased {
            return Ok(Changes::none());
        }
        if context.principal.user() == Some(self.user) {
            return Err(EraseRefusal::OwnAccount.into());
        }
        if administrators::is_last(world, self.user) {
            return Err(EraseRefusal::LastAdministrator.into());
        }
        let reason = self.reason;
        let changes = Changes::record::<User>(self.user, &UserEvent::Erased { reason });
        let changes = self.release(world, changes);
        Ok(self.remove_roles(world.get(self.user), changes))
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

    fn reads(&self, _: &World, reads: &mut Reads) {
        reads.read::<User>(self.user);
    }

    fn requires(&self, _: &World) -> Requirement {
        Requirement::System
    }

    fn decide(&self, world: &World, _: &Context<'_>) -> Decision<NotErased> {
        let user: User = world.get(self.user);
        match (user.erased, user.erasure_completed) {
            (false, _) => Err(NotErased.into()),
            (true, true) => Ok(Changes::none()),
            (true, false) => Ok(Changes::record::<User>(
                self.user,
                &UserEvent::ErasureCompleted(self.receipt.clone()),
            )),
        }
    }
}
