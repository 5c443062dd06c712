//! Accounts: the `identity_user` table.

use domain::{
    access::assignment::Assignments,
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::{OrganizationId, UserId},
    identity::user::{User, UserEvent, UserKind},
    personal::ERASED,
};
use time::OffsetDateTime;

use crate::{
    paging::Column,
    read_model::{History, ReadModel, Row, Rows, Scope},
};

/// An account.
#[derive(Clone, Debug, Row)]
pub struct UserRow {
    /// The account.
    pub id: UserId,
    /// Unique name.
    pub username: String,
    /// Address.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Organization.
    pub organization_id: Option<OrganizationId>,
    /// Department.
    pub department: Option<String>,
    /// Local, external or service.
    #[column(text)]
    pub account: UserKind,
    /// Whether the address is proven.
    pub verified: bool,
    /// Whether it is switched off.
    pub deactivated: bool,
    /// When it registered.
    pub created_at: OffsetDateTime,
    /// How many events are recorded about the account and its roles.
    pub version: i32,
}

/// Accounts can be listed by their unique name,
pub const USERNAME: Column = Column::new("username", "text");
/// by any of their names and their address,
pub const NAMES: [Column; 4] = [
    USERNAME,
    Column::new("email", "text"),
    Column::new("first_name", "text"),
    Column::new("last_name", "text"),
];
/// by whether they are verified
pub const VERIFIED: Column = Column::new("verified", "boolean");
/// or switched off,
pub const DEACTIVATED: Column = Column::new("deactivated", "boolean");
/// and by when they registered.
pub const CREATED: Column = Column::new("created_at", "timestamptz");

/// The projection.
#[derive(Default)]
pub struct Users;

impl ReadModel for Users {
    type Row = UserRow;
    const NAME: &'static str = "identity.user";
    const VERSION: i32 = 3;
    const PERSONAL: bool = true;
    const TABLE: &'static str = "identity_user";
    const HISTORY: Option<History> = Some(History::since(3, "identity_user_history"));
    const SCOPE: Scope = Scope::OwnOr {
        owner: "id",
        permission: Action::UsersRead,
    };
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY, Assignments::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<UserRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        if event.stream.category() == User::CATEGORY {
            fold_account(event, &key, rows)?;
        }
        rows.change(key, |row| row.version = row.version.saturating_add(1));
        Ok(())
    }
}

/// What an event of the account changes besides its version.
fn fold_account(event: &RecordedEvent, key: &str, rows: &mut Rows<UserRow>) -> Result<(), DecodeError> {
    match decode::<UserEvent>(event)? {
        UserEvent::Registered {
            user,
            account,
            profile,
        } => rows.put(
            key,
            UserRow {
                id: user,
                username: profile.username,
                email: profile.email,
                first_name: profile.first_name,
                last_name: profile.last_name,
                organization_id: profile.organization,
                department: profile.department,
                account,
                verified: false,
                deactivated: false,
                created_at: event.at,
                version: 0,
            },
        ),
        UserEvent::EmailVerified { .. } => rows.change(key, |row| row.verified = true),
        UserEvent::Deactivated { .. } => rows.change(key, |row| row.deactivated = true),
        UserEvent::Reactivated { .. } => rows.change(key, |row| row.deactivated = false),
        // At once, not only when the key is gone: nobody sees what was acknowledged as erased.
        UserEvent::Erased { .. } => rows.change(key, |row| {
            ERASED.clone_into(&mut row.username);
            ERASED.clone_into(&mut row.email);
            (row.first_name, row.last_name, row.department) = (None, None, None);
            row.deactivated = true;
        }),
        UserEvent::PasswordSet { .. }
        | UserEvent::VerificationRequested { .. }
        | UserEvent::ErasureCompleted(_) => {}
    }
    Ok(())
}

/// The UUID that a stream's key (`usr_…`) names.
pub(crate) fn uuid_of(event: &RecordedEvent) -> Option<uuid::Uuid> {
    let (_, hex) = event.stream.key().split_once('_')?;
    uuid::Uuid::try_parse(hex).ok()
}

/// As [`uuid_of`], in the form that the database prints.
pub(crate) fn uuid_key(event: &RecordedEvent) -> Option<String> {
    uuid_of(event).map(|id| id.to_string())
}
