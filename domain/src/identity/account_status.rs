//! Switching accounts off and on (ID-5).
//!
//! One rule: it reads the witness of [`crate::administrators`], so that one active administrator stays.

use super::user::{User, UserEvent};
use crate::{
    administrators,
    authz::{Action, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::UserId,
    text::{self, TextProblem},
};

/// Why an account stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// Nobody can lock themselves out.
    #[error("you cannot deactivate your own account")]
    OwnAccount,
    /// Without it nobody could change accounts and roles.
    #[error("this is the last active administrator; make somebody else an administrator first")]
    LastAdministrator,
    /// A reason is missing.
    #[error("say why, in at most 500 characters")]
    ReasonMissing,
    /// The reason is too long, or would steer a terminal.
    #[error(transparent)]
    Reason(#[from] TextProblem),
    /// AU-7: an erasure is for good.
    #[error("this person was erased; the account stays switched off")]
    Erased,
}

/// Switches an account off or on (ID-5).
#[derive(Clone, Debug)]
pub struct SetUserActive {
    /// The account.
    pub user: UserId,
    /// On or off.
    pub active: bool,
    /// The reason.
    pub reason: String,
}

impl Command for SetUserActive {
    type Refusal = AccountRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.read::<User>(self.user);
        if !self.active {
            administrators::read_witness(loaded, self.user, reads);
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let exists = loaded.get::<User>(self.user).profile.is_some();
        let resource = Resource::unowned(User::KIND, self.user, exists);
        Requirement::one(Action::UsersUpdate, resource)
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<AccountRefusal> {
        let user: User = loaded.get(self.user);
        if user.deactivated != self.active {
            return Ok(NewEvents::none());
        }
        if user.erased {
            return Err(AccountRefusal::Erased.into());
        }
        if context.principal.user() == Some(self.user) {
            return Err(AccountRefusal::OwnAccount.into());
        }
        let reason = text::reason(&self.reason).map_err(AccountRefusal::Reason)?;
        if reason.is_empty() {
            return Err(AccountRefusal::ReasonMissing.into());
        }
        if !self.active && administrators::is_last(loaded, self.user) {
            return Err(AccountRefusal::LastAdministrator.into());
        }
        let event = match self.active {
            true => UserEvent::Reactivated { reason },
            false => UserEvent::Deactivated { reason },
        };
        Ok(NewEvents::record::<User>(self.user, &event))
    }
}
