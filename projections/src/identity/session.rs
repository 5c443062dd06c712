//! Sessions: the `identity_session` table (SE-3).

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
    id::{SessionId, UserId},
    identity::session::{Session, SessionEvent},
};
use time::OffsetDateTime;

use super::user::uuid_key;
use crate::{
    history::AsOf,
    read_model::{History, ReadError, ReadModel, Row, Rows, Scope, Source, fetch},
};

/// A session.
#[derive(Clone, Debug, Row)]
pub struct SessionRow {
    /// The session.
    pub id: SessionId,
    /// The owner.
    pub user_id: UserId,
    /// The client's name for itself.
    pub device: Option<String>,
    /// Address of the login.
    pub address: Option<String>,
    /// Time of the login.
    pub created_at: OffsetDateTime,
    /// Time of the last refresh.
    pub last_seen_at: OffsetDateTime,
    /// When it ends by itself.
    pub expires_at: OffsetDateTime,
    /// Whether it was ended.
    pub revoked: bool,
}

/// The projection.
#[derive(Default)]
pub struct Sessions;

impl ReadModel for Sessions {
    type Row = SessionRow;
    const NAME: &'static str = "identity.session";
    const VERSION: i32 = 2;
    const PERSONAL: bool = true;
    const TABLE: &'static str = "identity_session";
    const HISTORY: Option<History> = Some(History::since(2, "identity_session_history"));
    const SCOPE: Scope = Scope::Own {
        owner: "user_id",
        read: Action::UsersRead,
    };
    const CATEGORIES: &'static [&'static str] = &[Session::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(uuid_key(event).into_iter().collect())
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<SessionRow>) -> Result<(), DecodeError> {
        let Some(key) = uuid_key(event) else { return Ok(()) };
        match decode::<SessionEvent>(event)? {
            SessionEvent::Opened {
                session,
                user,
                expires_at,
                device,
                ..
            } => rows.put(
                key,
                SessionRow {
                    id: session,
                    user_id: user,
                    device: device.or_else(|| event.meta.user_agent.clone()),
                    address: event.meta.address.clone(),
                    created_at: event.at,
                    last_seen_at: event.at,
                    expires_at,
                    revoked: false,
                },
            ),
            SessionEvent::Refreshed { .. } => rows.change(key, |row| row.last_seen_at = event.at),
            SessionEvent::Revoked { .. } => rows.change(key, |row| row.revoked = true),
            SessionEvent::Reused {} => {}
        }
        Ok(())
    }
}

/// The open sessions of a user, the newest first; at most 100.
///
/// # Errors
/// When the database fails.
pub async fn open(
    source: &impl Source,
    user: UserId,
    now: OffsetDateTime,
) -> Result<Vec<SessionRow>, ReadError> {
    let pool = source.serving(&[Sessions::NAME])?;
    let statement = format!(
        "{} where t.user_id = $1 and not t.revoked and t.expires_at > $2 order by t.id desc limit 100",
        AsOf::Now.select::<Sessions>()
    );
    fetch(pool, AsOf::Now.query(statement).bind(user.0).bind(now)).await
}
