//! Access lists: the `sharing_party` table, one row for each party of each shared thing. The scopes of all read models
//! look into it ([`crate::read_model::Scope`]).

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::{Party, PartyRole},
    event_store::RecordedEvent,
    id::{OrganizationId, ProjectId, UserId},
    sharing::access_list::{AccessList, AccessListEvent},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    history::AsOf,
    read_model::{History, ReadError, ReadModel, Rows, Scope, fetch},
};

/// A party of a shared thing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartyRow {
    /// Thing and party, by their ids at the edge.
    pub id: String,
    /// The thing.
    pub resource: Uuid,
    /// The user, project or organisation, as the scopes ask for it.
    #[serde(flatten)]
    party: PartyColumns,
    /// Its part.
    pub role: PartyRole,
    /// Until when.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// By whom it was given.
    pub granted_by: UserId,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub granted_at: OffsetDateTime,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A party in two columns.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PartyColumns {
    party_kind: PartyKind,
    party: Uuid,
}

/// What a party is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartyKind {
    User,
    Project,
    Organization,
}

impl From<Party> for PartyColumns {
    fn from(party: Party) -> Self {
        let (party_kind, party) = match party {
            Party::User(id) => (PartyKind::User, id.0),
            Party::Project(id) => (PartyKind::Project, id.0),
            Party::Organization(id) => (PartyKind::Organization, id.0),
        };
        Self { party_kind, party }
    }
}

impl PartyRow {
    /// Who has access.
    #[must_use]
    pub fn party(&self) -> Party {
        let PartyColumns { party_kind, party } = self.party;
        match party_kind {
            PartyKind::User => Party::User(UserId(party)),
            PartyKind::Project => Party::Project(ProjectId(party)),
            PartyKind::Organization => Party::Organization(OrganizationId(party)),
        }
    }
}

/// The projection.
#[derive(Default)]
pub struct Parties;

impl ReadModel for Parties {
    type Row = PartyRow;
    const NAME: &'static str = "sharing.party";
    const VERSION: i32 = 1;
    const TABLE: &'static str = "sharing_party";
    const KEY_TYPE: &'static str = "text";
    const HISTORY: Option<History> = Some(History::since(1, "sharing_party_history"));
    const SCOPE: Scope = Scope::Internal("an access list is read with its thing, by those who may share it");
    const CATEGORIES: &'static [&'static str] = &[AccessList::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        let (AccessListEvent::Granted { resource, party, .. } | AccessListEvent::Revoked { resource, party }) =
            decode(event)?;
        Ok(vec![format!("{resource}/{party}")])
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<PartyRow>) -> Result<(), DecodeError> {
        match decode(event)? {
            AccessListEvent::Granted {
                resource,
                party,
                role,
                until,
                granted_by,
            } => {
                let id = format!("{resource}/{party}");
                let row = PartyRow {
                    id: id.clone(),
                    resource: bare(&resource),
                    party: party.into(),
                    role,
                    until,
                    granted_by,
                    granted_at: event.at,
                    revoked: false,
                };
                rows.put(id, row);
            }
            AccessListEvent::Revoked { resource, party } => {
                rows.change(format!("{resource}/{party}"), |row| row.revoked = true);
            }
        }
        Ok(())
    }
}

/// The UUID of an id at the edge; nil for what is none, which nothing is called.
fn bare(id: &str) -> Uuid {
    let hex = id.rsplit_once('_').map_or(id, |(_, hex)| hex);
    Uuid::try_parse(hex).unwrap_or_default()
}

/// The parties of a thing that had access to it at that moment, or have now: in the order in which they were given it.
///
/// # Errors
/// When the database fails.
pub async fn of_resource(
    pool: &PgPool,
    as_of: AsOf,
    resource: Uuid,
    at: OffsetDateTime,
) -> Result<Vec<PartyRow>, ReadError> {
    let statement = format!(
        "select to_jsonb(t)::text from {} t where t.resource = $1 and not t.revoked \
         and (t.until is null or t.until > $2) order by t.granted_at, t.id",
        as_of.of::<Parties>()
    );
    fetch(pool, as_of.query(statement).bind(resource).bind(at)).await
}
