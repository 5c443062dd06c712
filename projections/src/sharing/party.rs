//! Access lists: the `sharing_party` table, one row for each party of each shared thing. The scopes of all read models
//! look into it ([`crate::read_model::Scope`]).

use domain::{
    aggregate::{Aggregate, DecodeError, decode},
    authz::{Party, PartyRole},
    event_store::RecordedEvent,
    id::UserId,
    sharing::access_list::{AccessList, AccessListEvent},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    history::AsOf,
    identity::{erasure::Erasures, user::uuid_of},
    read_model::{History, ReadError, ReadModel, Row, Rows, Scope, Source, rows},
};

/// A party of a shared thing.
#[derive(Clone, Debug, Row)]
pub struct PartyRow {
    /// Thing and party, by their ids at the edge.
    pub entry: String,
    /// The thing.
    pub resource: Uuid,
    /// What the party is: `user`, `project` or `organization`.
    pub kind: String,
    /// Its id, bare.
    pub id: Uuid,
    /// As what.
    #[column(text)]
    pub role: PartyRole,
    /// Until when.
    pub until: Option<OffsetDateTime>,
    /// By whom it was given.
    pub by: UserId,
    /// When it was given.
    pub granted_at: OffsetDateTime,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl PartyRow {
    /// The party.
    #[must_use]
    pub fn party(&self) -> Option<Party> {
        Party::of(&self.kind, self.id)
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
    const KEY: &'static str = "entry";
    const KEY_TYPE: &'static str = "text";
    const HISTORY: Option<History> = Some(History::since(1, "sharing_party_history"));
    const SCOPE: Scope = Scope::Internal("an access list is read with its thing, by those who may share it");
    const CATEGORIES: &'static [&'static str] = &[AccessList::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        Ok(match decode(event)? {
            AccessListEvent::Granted { resource, share } => vec![entry(&resource, share.party)],
            AccessListEvent::Revoked { resource, party } => vec![entry(&resource, party)],
        })
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<PartyRow>) -> Result<(), DecodeError> {
        match decode(event)? {
            AccessListEvent::Granted { resource, share } => {
                let (kind, id) = share.party.parts();
                let row = PartyRow {
                    entry: entry(&resource, share.party),
                    resource: uuid_of(event).unwrap_or_default(),
                    kind: kind.to_owned(),
                    id,
                    role: share.role,
                    until: share.until,
                    by: share.by,
                    granted_at: event.at,
                    revoked: false,
                };
                rows.put(row.entry.clone(), row);
            }
            AccessListEvent::Revoked { resource, party } => {
                rows.change(entry(&resource, party), |row| row.revoked = true);
            }
        }
        Ok(())
    }
}

fn entry(resource: &str, party: Party) -> String {
    format!("{resource}/{party}")
}

/// The parties of a thing that had access to it at that moment, or have now: in the order in which they were given it. An
/// erased person has none from then on.
///
/// # Errors
/// When the database fails.
pub async fn of_resource(
    source: &impl Source,
    as_of: AsOf,
    resource: Uuid,
    at: OffsetDateTime,
) -> Result<Vec<PartyRow>, ReadError> {
    source.serving(&[Erasures::NAME])?;
    let condition = format!(
        "where t.resource = $1 and not t.revoked and (t.until is null or t.until > $2) \
         and not exists (select from {} e where e.id = t.id) order by t.granted_at, t.entry",
        as_of.of::<Erasures>()
    );
    rows::<Parties>(source, as_of, &condition, |query| query.bind(resource).bind(at)).await
}
