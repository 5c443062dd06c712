//! Lists of models.
//!
//! One rule: see [`super`].

use async_graphql::{ID, InputObject, Result};
use domain::{authz, id::UserId, models::model::ModelKind};
use projections::{models::model, read_model::RowFilter};

use super::super::ModelContent;
use crate::graphql::{
    filters::{AccessFilter, Conditions, Created, ListFilter},
    paging::list_order,
    visibility::Visibility,
};

impl From<ModelContent> for ModelKind {
    fn from(content: ModelContent) -> Self {
        match content {
            ModelContent::Full => Self::Full,
            ModelContent::Adapter => Self::Adapter,
        }
    }
}

/// Filter of models; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct ModelFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// Owned by this user.
    pub owner_id: Option<ID>,
    /// Readable by the caller for this reason; an administrator's right to read everything is none.
    pub access: Option<AccessFilter>,
    /// With this visibility.
    pub visibility: Option<Visibility>,
    /// With versions of this content.
    pub content: Option<ModelContent>,
    /// When it was created.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for ModelFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let conditions = Conditions::default()
            .contains("filter.nameContains", &[model::NAME], name)?
            .id::<UserId>(model::OWNER, self.owner_id.as_ref())
            .is(model::VISIBILITY, self.visibility.map(authz::Visibility::from))
            .is(model::CONTENT, self.content.map(ModelKind::from))
            .access(self.access)
            .created(model::CREATED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of models.
    ModelOrder by
    /// What models can be ordered by.
    ModelOrderField = Created {
        /// Time of creation.
        Created,
        /// Name.
        Name => model::NAME,
    }
}
