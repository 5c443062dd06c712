//! Lists of datasets.
//!
//! One rule: see [`super`].

use async_graphql::{ID, InputObject, Result};
use domain::{authz, id::UserId};
use projections::{datasets::dataset, read_model::RowFilter};

use crate::graphql::{
    filters::{AccessFilter, Conditions, Created, ListFilter},
    paging::list_order,
    visibility::Visibility,
};

/// Filter of datasets; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct DatasetFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// Owned by this user.
    pub owner_id: Option<ID>,
    /// Readable by the caller for this reason; an administrator's right to read everything is none.
    pub access: Option<AccessFilter>,
    /// With this visibility.
    pub visibility: Option<Visibility>,
    /// When it was created.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for DatasetFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let conditions = Conditions::default()
            .contains("filter.nameContains", &[dataset::NAME], name)?
            .id::<UserId>(dataset::OWNER, self.owner_id.as_ref())
            .is(dataset::VISIBILITY, self.visibility.map(authz::Visibility::from))
            .access(self.access)
            .created(dataset::CREATED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of datasets.
    DatasetOrder by
    /// What datasets can be ordered by.
    DatasetOrderField = Created {
        /// Time of creation.
        Created,
        /// Name.
        Name => dataset::NAME,
    }
}
