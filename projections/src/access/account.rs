//! What decides what an account may do, without who it is: the `access_account` table.
//!
//! One rule: nothing personal is kept here, so that the past can be kept when a person is erased.

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::AccountState,
    event_store::RecordedEvent,
    id::{OrganizationId, UserId},
    identity::user::{User, UserEvent},
};

use crate::{
    history::{AsOf, History},
    identity::user::uuid_key,
    read_model::{ReadError, ReadModel, Row, Rows, Scope, Source, rows},
};

/// The state of an account.
#[derive(Clone, Debug, PartialEq, Eq, Row)]
pub struct AccountRow {
    /// The account.
    pub id: UserId,
    /// The state of the account.
    #[column(text)]
    pub state: AccountState,
    /// Whether its address was ever proven.
    pub verified: bool,
    /// Its organization.
    pub organization_id: Option<OrganizationId>,
}

/// The projection.
#[derive(Default)]
pub struct Accounts;

impl ReadModel for Accounts {
    type Row = AccountRow;
    const NAME: &'static str = "access.account";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "access_account";
    const HISTORY: Option<History> = Some(History::since(1, "access_account_history"));
    const SCOPE: Scope = Scope::Internal("the rights of the past are worked out from it");
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<AccountRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        match decode::<UserEvent>(event)? {
            UserEvent::Registered { user, profile, .. } => rows.put(
                key,
                AccountRow {
                    id: user,
                    state: AccountState::Unverified,
                    verified: false,
                    organization_id: profile.organization,
                },
            ),
            UserEvent::EmailVerified { .. } => rows.change(key, |row| {
                row.verified = true;
                if row.state == AccountState::Unverified {
                    row.state = AccountState::Active;
                }
            }),
            UserEvent::Deactivated { .. } | UserEvent::Erased { .. } => {
                rows.change(key, |row| row.state = AccountState::Deactivated);
            }
            UserEvent::Reactivated { .. } => rows.change(key, |row| {
                row.state = match row.verified {
                    true => AccountState::Active,
                    false => AccountState::Unverified,
                };
            }),
            UserEvent::PasswordSet { .. }
            | UserEvent::VerificationRequested { .. }
            | UserEvent::ErasureCompleted(_) => {}
        }
        Ok(())
    }
}

/// One account.
///
/// # Errors
/// When the database fails.
pub async fn find(source: &impl Source, as_of: AsOf, user: UserId) -> Result<Option<AccountRow>, ReadError> {
    let found = rows::<Accounts>(source, as_of, "where id = $1", |query| query.bind(user.0)).await?;
    Ok(found.into_iter().next())
}
