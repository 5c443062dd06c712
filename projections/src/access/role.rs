//! Roles: the `access_role` table.

use domain::{
    access::role::{Role, RoleEvent},
    aggregate::{Aggregate, DecodeError, decode},
    authz::Action,
    event_store::RecordedEvent,
};

use crate::{
    history::AsOf,
    read_model::{
        History, Kind, ReadError, ReadModel, Row, RowColumn, RowError, Rows, Scope, Source, Tuple, Values,
        rows,
    },
};

/// A role, as defined.
pub type RoleRow = domain::access::role::RoleDefinition;

/// The definition is the domain's, which knows no tables.
impl Row for RoleRow {
    const COLUMNS: &'static [RowColumn] = &[
        RowColumn::new("name", Kind::Text),
        RowColumn::new("description", Kind::Text),
        RowColumn::new("permissions", Kind::Jsonb),
        RowColumn::new("quotas", Kind::Jsonb),
        RowColumn::new("may_grant", Kind::Jsonb),
    ];

    fn encode(&self, tuple: &mut Tuple) -> Result<(), RowError> {
        tuple.value(&self.name);
        tuple.value(&self.description);
        tuple.json("permissions", &self.permissions)?;
        tuple.json("quotas", &self.quotas)?;
        tuple.json("may_grant", &self.may_grant)
    }

    fn decode(values: &mut Values<'_>) -> Result<Self, RowError> {
        Ok(Self {
            name: values.value("name")?,
            description: values.value("description")?,
            permissions: values.json("permissions")?,
            quotas: values.json("quotas")?,
            may_grant: values.json("may_grant")?,
        })
    }
}

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
