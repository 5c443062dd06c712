//! Who holds which role: the `access_assignment` table.

use domain::{
    access::assignment::{AssignmentEvent, Assignments as Aggregated},
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::UserId,
};
use time::OffsetDateTime;

use crate::{
    history::{AsOf, History},
    read_model::{ReadError, ReadModel, Row, Rows, Scope, Source, rows},
};

/// A role held, or once held, by a user.
#[derive(Clone, Debug, Row)]
pub struct AssignmentRow {
    /// User and role.
    pub id: String,
    /// The user.
    pub user_id: UserId,
    /// The role's name.
    pub role: String,
    /// When it was granted last.
    pub granted_at: OffsetDateTime,
    /// By whom.
    pub granted_by: String,
    /// The reason.
    pub reason: String,
    /// Whether it is held now.
    pub active: bool,
}

/// The projection.
#[derive(Default)]
pub struct Assignments;

fn key(user: UserId, role: &str) -> String {
    format!("{user}/{role}")
}

impl ReadModel for Assignments {
    type Row = AssignmentRow;
    const NAME: &'static str = "access.assignment";
    const VERSION: i32 = 2;
    const PERSONAL: bool = true;
    const TABLE: &'static str = "access_assignment";
    const KEY_TYPE: &'static str = "text";
    const HISTORY: Option<History> = Some(History::since(2, "access_assignment_history"));
    const SCOPE: Scope = Scope::OwnOr {
        owner: "user_id",
        permission: Action::RolesRead,
    };
    const CATEGORIES: &'static [&'static str] = &[Aggregated::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(match decode(event)? {
            AssignmentEvent::Granted { user, role, .. } | AssignmentEvent::Removed { user, role, .. } => {
                vec![key(user, &role)]
            }
        })
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<AssignmentRow>) -> Result<(), DecodeError> {
        match decode(event)? {
            AssignmentEvent::Granted { user, role, reason } => {
                let id = key(user, &role);
                let row = AssignmentRow {
                    id: id.clone(),
                    user_id: user,
                    role,
                    granted_at: event.at,
                    granted_by: event.meta.actor.clone(),
                    reason,
                    active: true,
                };
                rows.put(id, row);
            }
            AssignmentEvent::Removed { user, role, .. } => {
                rows.change(key(user, &role), |row| row.active = false);
            }
        }
        Ok(())
    }
}

/// The roles that these users hold, by name.
///
/// # Errors
/// When the database fails.
pub async fn of_users(
    source: &impl Source,
    as_of: AsOf,
    users: &[UserId],
) -> Result<Vec<AssignmentRow>, ReadError> {
    let ids: Vec<uuid::Uuid> = users.iter().map(|user| user.0).collect();
    let condition = "where user_id = any($1) and active order by role";
    rows::<Assignments>(source, as_of, condition, |query| query.bind(ids)).await
}
