//! Roles: the `access_role` table.

use domain::{
    access::role::{Role, RoleEvent},
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
};

use crate::{
    history::AsOf,
    read_model::{History, ReadError, ReadModel, Rows, Scope, Source, rows},
};

/// A role, as defined.
pub type RoleRow = domain::access::role::RoleDefinition;

/// The projection.
#[derive(Default)]
pub struct Roles;

impl ReadModel for Roles {
    type Row = RoleRow;
    const NAME: &'static str = "access.role";
    const VERSION: i32 = 2;
    const TABLE: &'static str = "access_role";
    const KEY: &'static str = "name";
    const KEY_TYPE: &'static str = "text";
    const HISTORY: Option<History> = Some(History::since(2, "access_role_history"));
    const SCOPE: Scope = Scope::Permission(Action::RolesRead);
    const CATEGORIES: &'static [&'static str] = &[Role::CATEGORY];

    fn keys(event: &RecordedEvent) -> Result<Vec<String>, DecodeError> {
        let RoleEvent::Defined(definition) = decode(event)?;
        Ok(vec![definition.name])
    }

    fn fold(event: &RecordedEvent, rows: &mut Rows<RoleRow>) -> Result<(), DecodeError> {
        let RoleEvent::Defined(definition) = decode(event)?;
        rows.put(definition.name.clone(), definition);
        Ok(())
    }
}

/// Every role, by name: for working out rights, whoever asks.
///
/// # Errors
/// When the database fails.
pub async fn all(source: &impl Source, as_of: AsOf) -> Result<Vec<RoleRow>, ReadError> {
    rows::<Roles>(source, as_of, "order by name", |query| query).await
}
