//! What the directory has folded, as bytes: the content of a snapshot.
//!
//! One rule: the same fold gives the same bytes, and bytes are read whole or not at all. Accounts that have the same rights
//! share one description, so that an account is its id and a number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    access::role::RoleDefinition,
    authz::AccountState,
    id::{OrganizationId, SessionId, UserId},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::folded::{Account, OpenSession, Rights};

/// Why bytes are no content of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// They are not in this form.
    #[error("it is not in the form of this build: {0}")]
    Json(#[from] serde_json::Error),
    /// An account has rights that are not described.
    #[error("rights number {0} are not described")]
    Undescribed(usize),
    /// A session ends at a time that there is not.
    #[error("a session ends at {0} s since 1970, which is no time")]
    NoTime(i64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// What accounts hold, each once.
    holdings: Vec<Holding>,
    /// Accounts, and which of the holdings is theirs.
    accounts: Vec<(UserId, usize)>,
    /// Sessions, of whom, and when they end: seconds since 1970 and nanoseconds.
    sessions: Vec<(SessionId, UserId, i64, u32)>,
    roles: Vec<RoleDefinition>,
    administrators: BTreeSet<UserId>,
}

/// What an account holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    state: AccountState,
    verified: bool,
    organization: Option<OrganizationId>,
    roles: BTreeSet<String>,
    hashed_with: Option<String>,
}

/// The same, to be compared without being copied.
type HeldBy<'a> = (
    AccountState,
    bool,
    Option<OrganizationId>,
    &'a BTreeSet<String>,
    Option<&'a str>,
);

fn held_by(account: &Account) -> HeldBy<'_> {
    let Account {
        state,
        verified,
        organization,
        roles,
        hashed_with,
    } = account;
    (*state, *verified, *organization, roles, hashed_with.as_deref())
}

impl From<HeldBy<'_>> for Holding {
    fn from((state, verified, organization, roles, hashed_with): HeldBy<'_>) -> Self {
        Self {
            state,
            verified,
            organization,
            roles: roles.clone(),
            hashed_with: hashed_with.map(str::to_owned),
        }
    }
}

impl Rights {
    /// Its bytes, the same for the same fold.
    ///
    /// # Errors
    /// When they cannot be written; that they can is a matter of the types.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormError> {
        let held: BTreeSet<HeldBy<'_>> = self.accounts.values().map(held_by).collect();
        let numbers: BTreeMap<HeldBy<'_>, usize> = held.iter().copied().zip(0..).collect();
        let accounts = self.accounts.iter();
        let mut accounts: Vec<_> = accounts
            .map(|(id, account)| (*id, numbers[&held_by(account)]))
            .collect();
        accounts.sort_unstable();
        let sessions = self.sessions.iter().map(|(id, open)| {
            let end = open.expires_at;
            (*id, open.user, end.unix_timestamp(), end.nanosecond())
        });
        let mut sessions: Vec<_> = sessions.collect();
        sessions.sort_unstable();
        let mut roles: Vec<_> = self.roles.values().cloned().collect();
        roles.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let content = Content {
            accounts,
            sessions,
            roles,
            administrators: self.administrators.clone(),
            holdings: held.into_iter().map(Holding::from).collect(),
        };
        Ok(serde_json::to_vec(&content)?)
    }

    /// What has these bytes.
    ///
    /// # Errors
    /// When they are no such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let content: Content = serde_json::from_slice(bytes)?;
        let mut rights = Self {
            administrators: content.administrators,
            ..Self::default()
        };
        let held: Vec<Account> = content.holdings.into_iter().map(account).collect();
        for (id, number) in content.accounts {
            let account = held.get(number).ok_or(FormError::Undescribed(number))?.clone();
            if let Some(parameters) = &account.hashed_with {
                *rights.hashed_with.entry(Arc::clone(parameters)).or_default() += 1;
            }
            rights.accounts.insert(id, account);
        }
        for (id, user, seconds, nanoseconds) in content.sessions {
            let whole = OffsetDateTime::from_unix_timestamp(seconds);
            let end = whole.and_then(|whole| whole.replace_nanosecond(nanoseconds));
            let expires_at = end.map_err(|_| FormError::NoTime(seconds))?;
            rights.sessions.insert(id, OpenSession { user, expires_at });
            rights.ends.insert((expires_at, id));
        }
        let roles = content.roles.into_iter();
        rights.roles = roles.map(|role| (role.name.clone(), role)).collect();
        Ok(rights)
    }
}

fn account(holding: Holding) -> Account {
    Account {
        state: holding.state,
        verified: holding.verified,
        organization: holding.organization,
        roles: holding.roles,
        hashed_with: holding.hashed_with.map(Arc::from),
    }
}
