//! Whether somebody can administer: an account that is active and holds `admin`.
//!
//! The rule: as with the other facts, of the deciders it shares the names of events only.

use std::collections::{BTreeSet, HashMap};

use domain::{
    access::administrators::{Administrators, AdministratorsEvent},
    aggregate::{Aggregate, DecodeError, decode},
    event_store::RecordedEvent,
    id::UserId,
    identity::user::{User, UserEvent},
};

use super::{Invariant, Report};

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    proven: bool,
    off: bool,
    erased: bool,
}

/// Who holds `admin`, and whose account is active. Keys of accounts are those of their streams.
#[derive(Debug, Default)]
pub(super) struct Circle {
    members: BTreeSet<UserId>,
    accounts: HashMap<String, Account>,
    /// Since when nobody is left.
    nobody_since: Option<u64>,
}

impl Circle {
    /// Adds one event.
    ///
    /// # Errors
    /// When this build cannot read it.
    pub(super) fn add(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let before = self.has_somebody();
        match event.stream.category() {
            User::CATEGORY => {
                let account = self.accounts.entry(event.stream.key().to_owned()).or_default();
                match decode(event)? {
                    UserEvent::EmailVerified { .. } => account.proven = true,
                    UserEvent::Deactivated { .. } => account.off = true,
                    UserEvent::Reactivated { .. } => account.off = false,
                    UserEvent::Erased { .. } => account.erased = true,
                    _ => return Ok(()),
                }
            }
            Administrators::CATEGORY => {
                match decode(event)? {
                    AdministratorsEvent::Joined { user } => self.members.insert(user),
                    AdministratorsEvent::Left { user } => self.members.remove(&user),
                };
            }
            _ => return Ok(()),
        }
        match (before, self.has_somebody()) {
            (true, false) => self.nobody_since = Some(event.position.0),
            (_, true) => self.nobody_since = None,
            (false, false) => {}
        }
        Ok(())
    }

    /// What can be said only at the end.
    pub(super) fn conclude(&self, report: &mut Report) {
        if let Some(position) = self.nobody_since {
            let what = format!("since position {position} no administrator has an active account");
            report.fault(Invariant::Administrators, what);
        }
    }

    fn has_somebody(&self) -> bool {
        let account = |user: &UserId| self.accounts.get(&user.to_string()).copied().unwrap_or_default();
        let mut accounts = self.members.iter().map(account);
        accounts.any(|account| account.proven && !account.off && !account.erased)
    }
}
